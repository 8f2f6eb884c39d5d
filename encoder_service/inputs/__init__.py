"""What callers send, made ready for the model: image bytes to pixels, texts to ids. Nothing is trusted."""
