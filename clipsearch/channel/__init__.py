"""Channels to a service: addresses, credentials, and lists cut to what one message may carry."""
