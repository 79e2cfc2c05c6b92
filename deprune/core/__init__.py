"""What everything else is built on: errors, subsets of blocks, fingerprints, files, signals."""
