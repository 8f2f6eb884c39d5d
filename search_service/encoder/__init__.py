"""The encoder service as seen from here: its client, and which encoder a collection needs."""
