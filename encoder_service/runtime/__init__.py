"""ONNX Runtime sessions on CPU and GPU."""
