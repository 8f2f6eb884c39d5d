"""Makes model bundles. The only place that may import torch, transformers or onnx."""
