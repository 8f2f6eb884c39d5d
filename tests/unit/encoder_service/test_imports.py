"""The encoder serves without the libraries that only making bundles needs."""

from __future__ import annotations

import subprocess
import sys


def test_the_service_imports_neither_torch_nor_what_exports_models() -> None:
    code = (
        "import sys, encoder_service.__main__; "
        "print([m for m in ('torch', 'transformers', 'onnx', 'onnxscript') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
