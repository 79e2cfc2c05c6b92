"""Losses of subsets of blocks: exact sharing of common prefixes, every loss remembered."""
