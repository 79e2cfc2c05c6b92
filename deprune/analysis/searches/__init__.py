"""Searches against each other: gains, costs, ranks, and the best subset."""
