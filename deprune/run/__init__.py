"""One job from its configuration to its record, and many of them."""
