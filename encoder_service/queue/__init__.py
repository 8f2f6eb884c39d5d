"""From a caller's items to batches, and back."""
