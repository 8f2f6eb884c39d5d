"""What is asked of driver and libraries before a session is opened, with stand-ins for both."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from encoder_service.runtime.cuda import (
    LIBRARIES,
    CudaError,
    CudaMemory,
    Gpu,
    HostMemory,
    find_gpu,
    find_tensorrt,
)


class Driver:
    """libcuda.so.1 as far as it is called."""

    def __init__(self, version: int = 13000, devices: int = 1, error: int = 0) -> None:
        self.version, self.devices, self.error = version, devices, error

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.devices
        return 0

    def cuDeviceGet(self, handle: Any, device: int) -> int:
        handle._obj.value = device
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:
        name.value = f"Card {handle.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, handle: Any) -> int:
        memory._obj.value = 80 * 2**30
        return 0


def loader(driver: Driver | None, missing: str = "") -> Any:
    """Loads the stand-in driver and anything else but what is missing."""

    def load(name: str) -> Any:
        if name == missing or (name == "libcuda.so.1" and driver is None):
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        return driver if name == "libcuda.so.1" else object()

    return load


def test_the_card_is_told_with_its_name_and_memory() -> None:
    assert find_gpu(1, loader(Driver(devices=2))) == Gpu(1, "Card 1", 80 * 2**30)


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (None, r"^there is no NVIDIA driver here \(libcuda\.so\.1 is not found\)$"),
        (Driver(error=100), r"^the NVIDIA driver finds no GPU$"),
        (Driver(error=803), r"^the NVIDIA driver does not start \(cuInit gives error 803\)$"),
        (Driver(version=12040), r"^the NVIDIA driver is too old: it supports CUDA 12\.4, .* needs 13\.0$"),
        (Driver(devices=1), r"^there is no GPU 2: the driver finds 1 GPU, it is 0$"),
        (Driver(devices=2), r"^there is no GPU 2: the driver finds 2 GPUs, they are 0 to 1$"),
    ],
)
def test_what_is_wrong_with_the_driver_is_one_sentence(driver: Driver | None, message: str) -> None:
    with pytest.raises(CudaError, match=message):
        find_gpu(2, loader(driver))


@pytest.mark.parametrize("missing", LIBRARIES)
def test_a_missing_library_is_named_with_what_brings_it(missing: str) -> None:
    with pytest.raises(CudaError, match=rf"^{missing} is not found: pip install 'clipsearch\[gpu\]'"):
        find_gpu(0, loader(Driver(), missing))


def test_libraries_that_lie_in_pip_packages_are_loaded_before_they_are_missed() -> None:
    there: set[str] = set()

    def load(name: str) -> Any:
        if name == "libcuda.so.1":
            return Driver()
        if name not in there:
            raise OSError(name)
        return object()

    assert find_gpu(0, load, preload=lambda: there.update(LIBRARIES)).device == 0


def test_tensorrt_is_not_part_of_the_extra() -> None:
    with pytest.raises(CudaError, match=r"^libnvinfer\.so\.10 is not found"):
        find_tensorrt(loader(Driver(), "libnvinfer.so.10"))


class Runtime:
    """libcudart: a card whose memory is the host's."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.error = 0

    def cudaSetDevice(self, device: int) -> int:
        self.calls.append(("device", device))
        return 0

    def cudaHostRegister(self, address: Any, size: Any, flags: Any) -> int:
        self.calls.append(("pin", size.value))
        return self.error

    def cudaHostUnregister(self, address: Any) -> int:
        self.calls.append(("unpin", None))
        return 0

    def cudaMemcpy(self, target: Any, source: Any, size: Any, way: Any) -> int:
        self.calls.append(("copy", way.value))
        ctypes.memmove(target, source, size.value)
        return self.error


def test_copies_go_both_ways_on_the_card_that_was_asked_for() -> None:
    runtime = Runtime()
    memory = CudaMemory(3, lambda name: runtime)
    there, back = np.zeros(4, np.int64), np.zeros(4, np.int64)
    memory.pin(back)
    memory.upload(np.arange(4), there.ctypes.data)
    memory.download(there.ctypes.data, back)
    memory.unpin(back)
    assert back.tolist() == [0, 1, 2, 3]
    calls = [call for call in runtime.calls if call[0] != "device"]
    assert calls == [("pin", 32), ("copy", 1), ("copy", 2), ("unpin", None)]
    assert runtime.calls.count(("device", 3)) == 4  # the current device is a thread's own


def test_an_error_of_the_runtime_is_told() -> None:
    runtime = Runtime()
    runtime.error = 2
    with pytest.raises(CudaError, match=r"^cudaHostRegister on GPU 0 gives error 2$"):
        CudaMemory(0, lambda name: runtime).pin(np.zeros(4))


def test_the_hosts_own_memory_stands_in() -> None:
    there, back = np.zeros(3, np.uint8), np.zeros(3, np.uint8)
    HostMemory().upload(np.array([1, 2, 3], np.uint8), there.ctypes.data)
    HostMemory().download(there.ctypes.data, back)
    assert back.tolist() == [1, 2, 3]
