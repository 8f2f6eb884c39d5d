"""The store that is a Qdrant server or cluster."""
