"""What runs: the provider and the graph that were asked for, shown to be there, or no start at all.

ONNX Runtime itself falls back to the CPU in silence, for the whole graph where a library is missing and
for single nodes that a provider does not know. Neither gets past here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any, Literal

from encoder_service.bundle import BundleError, Manifest, Precision, Tower

try:
    import onnxruntime as ort
except ModuleNotFoundError as error:
    if error.name != "onnxruntime":
        raise
    raise ModuleNotFoundError(
        "ONNX Runtime is not installed: pip install 'clipsearch[cpu]', or 'clipsearch[gpu]' for NVIDIA GPUs",
        name="onnxruntime",
    ) from None

ProviderName = Literal["cpu", "cuda"]

PROVIDERS: dict[ProviderName, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_WHEELS = ("onnxruntime", "onnxruntime-gpu")
_CPU_WHEEL = "the ONNX Runtime that is installed is the one for CPUs"
# A plugin's sessions share one arena, and what one of them frees another may still be reading.
_PLUGIN = "cuda-plugin-ep=1"

# What may stay on the CPU: arithmetic on shapes, which ONNX Runtime puts there for speed.
_SHAPE_OPERATORS = frozenset(
    {"Add", "Cast", "Concat", "Constant", "Div", "Equal", "Gather", "Mul", "Range", "Shape", "Slice"}
    | {"Squeeze", "Sub", "Unsqueeze", "Where"}
)


class SessionError(Exception):
    """The session cannot be opened, or is not what was asked for; one line for the operator."""


def find_gpu(device: int) -> str:
    """The name of the card of this number. Raises SessionError, with what CUDA says of it."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise SessionError("cuda-bindings is not installed: pip install 'clipsearch[gpu]'") from None
    error, properties = runtime.cudaGetDeviceProperties(device)
    if error:
        said = runtime.cudaGetErrorString(error)[1].decode()
        raise SessionError(f"GPU {device} cannot be used: {said}")
    return str(properties.name.decode())


def choose_provider(asked: Literal["auto"] | ProviderName, device: int) -> tuple[ProviderName, str]:
    """The provider to run and why; `auto` takes CUDA where it can be had, else the CPU.

    Raises SessionError if what was asked for cannot be had.
    """
    if asked == "cpu":
        return "cpu", "asked for"
    try:
        if PROVIDERS["cuda"] not in ort.get_available_providers():
            raise SessionError(_no_cuda(installed_wheels()))
        if _PLUGIN in ort.get_build_info():
            raise SessionError("in this build of ONNX Runtime CUDA is a plugin, whose sessions share memory")
        return "cuda", f"GPU {device} is {find_gpu(device)}"
    except SessionError as error:
        if asked == "auto":
            return "cpu", str(error)
        remedy = ": pip uninstall onnxruntime, then pip install 'clipsearch[gpu]'"
        advice = remedy if str(error) == _CPU_WHEEL else ""
        raise SessionError(f"{PROVIDERS['cuda']} was asked for, but {error}{advice}") from None


def installed_wheels() -> list[str]:
    """Which of ONNX Runtime's wheels pip knows of; more than one have overwritten each other's files."""
    known = {name.lower() for found in metadata.distributions() if (name := found.metadata["Name"])}
    return [name for name in _WHEELS if name in known]


def both_wheels(there: Sequence[str]) -> str:
    """What to do about two wheels in one environment; empty if there is one."""
    if len(there) < 2:
        return ""
    return (
        f"{' and '.join(there)} are both installed and have overwritten each other's files: "
        f"pip uninstall {' '.join(there)}, then install one of them"
    )


def _no_cuda(there: Sequence[str]) -> str:
    if problem := both_wheels(there):
        return problem
    if "onnxruntime-gpu" in there:
        return f"onnxruntime-gpu {ort.__version__} has no {PROVIDERS['cuda']}"
    return _CPU_WHEEL


def provider_options(
    provider: ProviderName, *, device: int, memory_mb: int
) -> list[tuple[str, dict[str, str]]]:
    """The provider with its options, as ONNX Runtime takes them; `memory_mb` 0 = no limit."""
    if provider == "cpu":
        return [(PROVIDERS["cpu"], {})]
    options = {
        "device_id": str(device),
        # By default the arena doubles at every growth and keeps what it has.
        "arena_extend_strategy": "kSameAsRequested",
        # Trying every algorithm takes workspace for all of them, again for each shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        # fp32 is asked for where fp32 is meant; fp16 graphs do not use it.
        "use_tf32": "0",
        # Without it SkipLayerNormalization adds up in fp16.
        "enable_skip_layer_norm_strict_mode": "1",
    }
    if memory_mb:
        options["gpu_mem_limit"] = str(memory_mb * 2**20)
    return [(PROVIDERS["cuda"], options)]


def check_placement(session: Any, name: str, provider: ProviderName) -> None:
    """Raises SessionError unless the session's provider is this one and all computing nodes are on it.

    The session must have been opened with `session.record_ep_graph_assignment_info`.
    """
    wanted, got = PROVIDERS[provider], session.get_providers()[0]
    if got != wanted:
        raise SessionError(f"{wanted} was asked for, but ONNX Runtime gave {got}; its own log says why")
    if provider == "cpu":
        return
    placed: dict[str, set[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        placed.setdefault(part.ep_name, set()).update(node.op_type for node in part.get_nodes())
    if not placed.get(wanted):
        raise SessionError(f"{name}: {wanted} was asked for, but takes no node of the graph")
    strays = sorted(placed.get(PROVIDERS["cpu"], set()) - _SHAPE_OPERATORS)
    if strays:
        raise SessionError(
            f"{name}: {', '.join(strays)} would run on the CPU; a bundle exported by this version runs on "
            f"the GPU as a whole, in fp16 and fp32"
        )


def choose_precision(
    manifest: Manifest, tower: Tower, asked: str, provider: ProviderName = "cpu"
) -> tuple[Precision, str]:
    """The precision to run and why. Raises BundleError if the bundle has no such graph."""
    there = manifest.precisions[tower]
    if asked != "auto":
        for precision in there:
            if precision == asked and (precision != "int8" or provider == "cpu"):
                return precision, "asked for"
        if asked in there:
            raise BundleError(f"{asked} was asked for in the {tower} tower, which runs on CPUs only")
        raise BundleError(f"the bundle has no {asked} graph of the {tower} tower; it has {', '.join(there)}")
    lower: Precision = "int8" if provider == "cpu" else "fp16"
    chosen = manifest.preferred_cpu[tower] if provider == "cpu" else manifest.preferred_gpu.get(tower, "fp32")
    if chosen not in there:
        raise BundleError(
            f"the bundle has no graph of the {tower} tower for a GPU, fp16 or fp32; it has {', '.join(there)}"
        )
    if chosen == "fp32" and lower in there and (failed := _failed(manifest, tower, lower)):
        return chosen, f"{lower} did not pass: {failed}"
    if provider == "cuda" and chosen == "fp32" and "fp16" not in there:
        advice = "`clipsearch model export --precision fp32,int8,fp16` makes one"
        return chosen, f"the bundle has no fp16 graph; {advice}"
    return chosen, f"the bundle's choice for {'CPUs' if provider == 'cpu' else 'GPUs'}"


def _failed(manifest: Manifest, tower: Tower, precision: Precision) -> str:
    """The checks that a precision did not pass, in words."""
    return ", ".join(
        f"{check.name} {check.value:.4f}, bound {check.bound}"
        for check in manifest.parity
        if check.tower == tower and not check.passed and check.name.startswith(f"{precision} ")
    )
