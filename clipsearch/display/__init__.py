"""Rows as HTML tables, and thumbnails of local files. The client's results show themselves with it."""
