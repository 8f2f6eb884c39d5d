"""The encoder service: CLIP as ONNX, pictures and words in, vectors out."""
