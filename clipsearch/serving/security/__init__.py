"""TLS and tokens: who may call, and what."""
