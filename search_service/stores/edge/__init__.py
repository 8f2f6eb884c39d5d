"""The embedded store: Qdrant Edge, each collection in an engine's process of its own."""
