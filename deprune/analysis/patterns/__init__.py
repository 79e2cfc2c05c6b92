"""Which blocks go, and how alike patterns are."""
