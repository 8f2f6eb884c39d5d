"""Results as tables, data frames and thumbnails."""
