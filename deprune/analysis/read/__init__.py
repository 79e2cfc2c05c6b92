"""Records, archives and published tables as tidy tables."""
