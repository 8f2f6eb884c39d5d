"""Rows as HTML tables, and thumbnails of local files."""
