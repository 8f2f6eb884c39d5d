"""The RPCs: messages to values and back."""
