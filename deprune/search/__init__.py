"""Search algorithms: which blocks to remove, given only the losses of subsets."""
