"""What an image's header says of its size, by format, read without decoding."""
