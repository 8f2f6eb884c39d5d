"""Hand-written towers, one file a family."""
