"""The encoder service as seen from here: its client, its connection, and which encoder a collection needs."""
