"""Which ONNX Runtime provider runs: the one that was asked for, shown to be there, or no start at all.

ONNX Runtime itself falls back to the CPU in silence, for the whole graph where a library is missing and
for single nodes that a provider does not know. Neither gets past here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from clipsearch.downloads.wheels import default_cache
from encoder_service.runtime.cuda import CudaError, Gpu, find_gpu, find_tensorrt

try:
    import onnxruntime as ort
except ModuleNotFoundError as error:
    if error.name != "onnxruntime":
        raise
    raise ModuleNotFoundError(
        "ONNX Runtime is not installed: pip install 'clipsearch[cpu]', or 'clipsearch[gpu]' for NVIDIA GPUs",
        name="onnxruntime",
    ) from None

ProviderName = Literal["cpu", "cuda", "tensorrt"]

PROVIDERS: dict[ProviderName, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_WHEELS = ("onnxruntime", "onnxruntime-gpu")
_CPU_WHEEL = "the ONNX Runtime that is installed is the one for CPUs"

# What may stay on the CPU: arithmetic on shapes, which ONNX Runtime puts there for speed.
_SHAPE_OPERATORS = frozenset(
    {"Add", "Cast", "Concat", "Constant", "Div", "Equal", "Gather", "Mul", "Range", "Shape", "Slice"}
    | {"Squeeze", "Sub", "Unsqueeze", "Where"}
)

# Each tensor's smallest, usual and largest shape, by the input's name.
Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


class SessionError(Exception):
    """The session cannot be opened, or is not what was asked for; one line for the operator."""


@dataclass(frozen=True, slots=True)
class Device:
    """A card by its number, and the MiB that each session may take of it; 0 = no limit."""

    id: int = 0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The provider that runs, and why it is this one."""

    provider: ProviderName
    reason: str


def preload_libraries() -> None:
    """Loads what CUDA's and cuDNN's pip packages brought: the loader does not look where they lie.

    What is not there is silently left out.
    """
    # It prints what it does not find. To redirect sys.stdout would do so for every thread of the process,
    # and for two that do it at once in the wrong order; a name of the module hides the built-in one.
    vars(ort)["print"] = _say_nothing
    ort.preload_dlls()


def _say_nothing(*_words: object, **_how: object) -> None:
    """Stands for `print`."""


def find_usable_gpu(device: int) -> Gpu:
    """The card of this number with all that ONNX Runtime needs to use it. Raises CudaError."""
    return find_gpu(device, preload=preload_libraries)


def choose_provider(
    asked: Literal["auto"] | ProviderName,
    device: int,
    *,
    find: Callable[[int], Gpu] = find_usable_gpu,
    available: Sequence[str] | None = None,
    wheels: Sequence[str] | None = None,
) -> Choice:
    """The provider to run. `auto` takes CUDA where it can be had, else the CPU, and says why.

    Raises SessionError if what was asked for cannot be had.
    """
    if asked == "cpu":
        return Choice("cpu", "asked for")
    wanted: ProviderName = "cuda" if asked == "auto" else asked
    offered = ort.get_available_providers() if available is None else available
    there = installed_wheels() if wheels is None else wheels
    try:
        if PROVIDERS[wanted] not in offered:
            raise CudaError(_no_such_provider(wanted, there))
        gpu = find(device)
        if wanted == "tensorrt":
            find_tensorrt()
    except CudaError as error:
        if asked == "auto":
            return Choice("cpu", str(error))
        remedy = ": pip uninstall onnxruntime, then pip install 'clipsearch[gpu]'"
        advice = remedy if str(error) == _CPU_WHEEL else ""
        raise SessionError(f"{PROVIDERS[wanted]} was asked for, but {error}{advice}") from None
    return Choice(wanted, f"GPU {gpu.device} is {gpu.name} with {gpu.memory // 2**20} MiB")


def installed_wheels() -> list[str]:
    """Which of ONNX Runtime's wheels pip knows of; more than one have overwritten each other's files."""
    found = []
    for name in _WHEELS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def both_wheels(there: Sequence[str]) -> str:
    """What to do about two wheels in one environment; empty if there is one."""
    if len(there) < 2:
        return ""
    return (
        f"{' and '.join(there)} are both installed and have overwritten each other's files: "
        f"pip uninstall {' '.join(there)}, then install one of them"
    )


def _no_such_provider(wanted: ProviderName, there: Sequence[str]) -> str:
    if problem := both_wheels(there):
        return problem
    if "onnxruntime-gpu" in there:
        return f"onnxruntime-gpu {ort.__version__} has no {PROVIDERS[wanted]}"
    return _CPU_WHEEL


def provider_options(
    provider: ProviderName, device: Device, shapes: Shapes | None = None, cache: Path | None = None
) -> list[tuple[str, dict[str, str]]]:
    """Providers and their options, in ONNX Runtime's order of preference.

    `shapes` are what TensorRT builds its engines for; it keeps them in `cache`.
    """
    if provider == "cpu":
        return [(PROVIDERS["cpu"], {})]
    limit = {"gpu_mem_limit": str(device.memory_mb * 2**20)} if device.memory_mb else {}
    cuda = {
        "device_id": str(device.id),
        # By default the arena doubles at every growth and keeps what it has.
        "arena_extend_strategy": "kSameAsRequested",
        # Trying every algorithm takes workspace for all of them, again for each shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        # fp32 is asked for where fp32 is meant; fp16 graphs do not use it.
        "use_tf32": "0",
        # Kernels of a batch in one launch; refused where a node would run on the CPU.
        "enable_cuda_graph": "1" if provider == "cuda" else "0",
        **limit,
    }
    if provider == "cuda":
        return [(PROVIDERS["cuda"], cuda)]
    folder = cache or default_cache() / "tensorrt"
    tensorrt = {
        "device_id": str(device.id),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        **({"trt_max_workspace_size": str(device.memory_mb * 2**20)} if device.memory_mb else {}),
        **_profile(shapes or {}),
    }
    return [(PROVIDERS["tensorrt"], tensorrt), (PROVIDERS["cuda"], cuda)]


def _profile(shapes: Shapes) -> dict[str, str]:
    """Without it TensorRT builds its engine again whenever a batch is larger than any before."""
    if not shapes:
        return {}
    texts = [
        ",".join(f"{name}:{'x'.join(map(str, bounds[place]))}" for name, bounds in shapes.items())
        for place in range(3)
    ]
    return dict(zip((f"trt_profile_{which}_shapes" for which in ("min", "opt", "max")), texts, strict=True))


def check_placement(session: Any, name: str, provider: ProviderName) -> None:
    """Raises SessionError unless the session's provider is this one and all computing nodes are on it.

    The session must have been opened with `session.record_ep_graph_assignment_info`.
    """
    wanted, got = PROVIDERS[provider], session.get_providers()[0]
    if got != wanted:
        raise SessionError(f"{wanted} was asked for, but ONNX Runtime gave {got}; its own log says why")
    if provider == "cpu":
        return
    placed = nodes_by_provider(session)
    if not placed[wanted]:
        raise SessionError(f"{name}: {wanted} was asked for, but takes no node of the graph")
    strays = sorted(set(placed[PROVIDERS["cpu"]]) - _SHAPE_OPERATORS)
    if strays:
        raise SessionError(
            f"{name}: {', '.join(strays)} would run on the CPU; a bundle exported by this version runs on "
            f"the GPU as a whole, in fp16 and fp32"
        )


def nodes_by_provider(session: Any) -> dict[str, Counter[str]]:
    """How many nodes of each operator a session's providers took."""
    placed: dict[str, Counter[str]] = {name: Counter() for name in PROVIDERS.values()}
    for part in session.get_provider_graph_assignment_info():
        operators = placed.setdefault(part.ep_name, Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return placed
