"""Which factor explains the variance of a response."""
