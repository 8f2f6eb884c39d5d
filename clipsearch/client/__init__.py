"""The client: `Client` and `AsyncClient`, what they take and what they return."""
