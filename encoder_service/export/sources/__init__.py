"""Where dual encoders come from: a folder, the Hugging Face hub, OpenCLIP's own list, or chance."""
