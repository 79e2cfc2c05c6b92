"""Everything that is read: corpora, items, tasks and held-out text, and the calibration samples drawn from them."""
