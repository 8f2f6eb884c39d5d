"""The services start without the exporter's libraries: no module of theirs imports one."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["torch", "transformers", "onnx", "onnxscript", "safetensors"]

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
         if not m.name.startswith("encoder_service.export")]
for name in names:
    importlib.import_module(name)
assert package.__name__ + ".__main__" in sys.modules, "the service has no __main__"
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


@pytest.mark.parametrize("service", ["encoder_service", "search_service"])
def test_a_service_imports_neither_torch_nor_transformers(service: str) -> None:
    command = [sys.executable, "-c", IMPORT_ALL, service, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
