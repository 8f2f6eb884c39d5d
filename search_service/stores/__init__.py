"""Vector stores: one protocol, two implementations."""
