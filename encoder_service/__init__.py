"""The encoder service: CLIP as ONNX, images and words in, vectors out."""
