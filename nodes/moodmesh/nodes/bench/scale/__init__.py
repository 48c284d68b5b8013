"""`bench scale`: what one more peer costs a node."""
