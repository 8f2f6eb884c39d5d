"""The encoder service as seen from here: its client, breaker and errors."""
