"""ONNX graphs: out of torch, and into lower precisions."""
