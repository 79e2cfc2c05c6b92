"""Treatments: what is done to the weights of a pruned model before it is scored."""
