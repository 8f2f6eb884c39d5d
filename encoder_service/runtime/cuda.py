"""NVIDIA's driver and runtime through ctypes: what this machine has, pinned memory, copies to the card.

ONNX Runtime says nothing an operator could act on when one of these is missing: it logs and runs on the
CPU. Everything here is asked of the libraries themselves, before a session is opened.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Load = Callable[[str], Any]

# What onnxruntime-gpu 1.31 links to (`ldd libonnxruntime_providers_cuda.so`), and cuDNN, which it opens
# once a node asks for it.
LIBRARIES = ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libcudnn.so.9")
_DRIVER = "libcuda.so.1"
_TENSORRT = "libnvinfer.so.10"
_RUNTIME = "libcudart.so.13"
_CUDA_MAJOR = 13

_NO_DEVICE = 100
_TO_DEVICE, _TO_HOST = 1, 2


class CudaError(Exception):
    """Why the card cannot be used; one line for the operator."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card: its place in the driver's list, its name, its memory in bytes."""

    device: int
    name: str
    memory: int


def find_gpu(device: int, load: Load = ctypes.CDLL, preload: Callable[[], None] = lambda: None) -> Gpu:
    """The card of this number, once driver and CUDA's libraries were found to be there. Raises CudaError.

    `preload` loads those libraries that do not lie where the loader looks.
    """
    gpu = _gpu(_driver(load), device)
    preload()
    for name in LIBRARIES:
        _load(load, name, f"{name} is not found: pip install 'clipsearch[gpu]' brings CUDA and cuDNN")
    return gpu


def find_tensorrt(load: Load = ctypes.CDLL) -> None:
    """Raises CudaError if TensorRT's library is not there."""
    _load(
        load,
        _TENSORRT,
        f"{_TENSORRT} is not found: TensorRT 10 must lie where the loader looks for libraries",
    )


def _driver(load: Load) -> Any:
    driver = _load(load, _DRIVER, f"there is no NVIDIA driver here ({_DRIVER} is not found)")
    error = int(driver.cuInit(0))
    if error == _NO_DEVICE:
        raise CudaError("the NVIDIA driver finds no GPU")
    if error:
        raise CudaError(f"the NVIDIA driver does not start (cuInit gives error {error})")
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    major, minor = version.value // 1000, version.value % 1000 // 10
    if major < _CUDA_MAJOR:
        raise CudaError(
            f"the NVIDIA driver is too old: it supports CUDA {major}.{minor}, "
            f"ONNX Runtime needs {_CUDA_MAJOR}.0"
        )
    return driver


def _gpu(driver: Any, device: int) -> Gpu:
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    if device >= count.value:
        there = "it is 0" if count.value == 1 else f"they are 0 to {count.value - 1}"
        noun = "GPU" if count.value == 1 else "GPUs"
        raise CudaError(f"there is no GPU {device}: the driver finds {count.value} {noun}, {there}")
    handle, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(handle), device)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    return Gpu(device, name.value.decode(errors="replace"), memory.value)


def _load(load: Load, name: str, otherwise: str) -> Any:
    try:
        return load(name)
    except OSError:
        raise CudaError(otherwise) from None


class Memory(Protocol):
    """Where a session's inputs and outputs lie, and how they get there."""

    device_type: str
    device: int

    def pin(self, array: NDArray[Any]) -> None:
        """Lets the card read and write the array directly, for as long as the array lives."""

    def unpin(self, array: NDArray[Any]) -> None:
        """Ends that."""

    def upload(self, source: NDArray[Any], address: int) -> None:
        """Copies a contiguous array to an address on the device. Blocks, without the GIL."""

    def download(self, address: int, target: NDArray[Any]) -> None:
        """The other way."""


class CudaMemory:
    """A card's memory. The copies go over the default stream, beside the session's own."""

    device_type = "cuda"

    def __init__(self, device: int, load: Load = ctypes.CDLL) -> None:
        self.device = device
        self._runtime = _load(load, _RUNTIME, f"{_RUNTIME} is not found")

    def pin(self, array: NDArray[Any]) -> None:  # noqa: D102
        self._call("cudaHostRegister", _at(array), ctypes.c_size_t(array.nbytes), ctypes.c_uint(0))

    def unpin(self, array: NDArray[Any]) -> None:  # noqa: D102
        self._call("cudaHostUnregister", _at(array))

    def upload(self, source: NDArray[Any], address: int) -> None:  # noqa: D102
        self._copy(ctypes.c_void_p(address), _at(source), source.nbytes, _TO_DEVICE)

    def download(self, address: int, target: NDArray[Any]) -> None:  # noqa: D102
        self._copy(_at(target), ctypes.c_void_p(address), target.nbytes, _TO_HOST)

    def _copy(self, target: ctypes.c_void_p, source: ctypes.c_void_p, size: int, way: int) -> None:
        self._call("cudaMemcpy", target, source, ctypes.c_size_t(size), ctypes.c_int(way))

    def _call(self, name: str, *arguments: Any) -> None:
        # The current device is a thread's own.
        error = int(self._runtime.cudaSetDevice(self.device)) or int(getattr(self._runtime, name)(*arguments))
        if error:
            raise CudaError(f"{name} on GPU {self.device} gives error {error}")


class HostMemory:
    """The same for a session on the CPU: what tests run I/O binding with."""

    device_type = "cpu"
    device = 0

    def pin(self, array: NDArray[Any]) -> None:
        """Nothing to do."""

    def unpin(self, array: NDArray[Any]) -> None:
        """Nothing to do."""

    def upload(self, source: NDArray[Any], address: int) -> None:  # noqa: D102
        ctypes.memmove(address, source.ctypes.data, source.nbytes)

    def download(self, address: int, target: NDArray[Any]) -> None:  # noqa: D102
        ctypes.memmove(target.ctypes.data, address, target.nbytes)


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)
