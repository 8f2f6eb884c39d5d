"""The images that the page shows: where they may lie, read, shrunk and kept."""
