"""Rows of JSON lines, CSV or Parquet, read a piece at a time. A bad row is a row with a problem."""
