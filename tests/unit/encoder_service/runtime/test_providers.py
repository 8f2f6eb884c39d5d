"""The provider that runs is the one asked for, with all nodes on the card; or there is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from encoder_service.runtime import providers
from encoder_service.runtime.providers import (
    SessionError,
    check_placement,
    choose_provider,
    find_gpu,
    provider_options,
)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
GPU_WHEEL = ([CUDA, CPU], ["onnxruntime-gpu"])
CPU_WHEEL = ([CPU], ["onnxruntime"])


def card(device: int) -> str:
    return "NVIDIA H100"


def no_card(device: int) -> str:
    raise SessionError("no CUDA-capable device is detected")


class Installed:
    """What is there, in the eyes of `choose_provider`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def choose(
        self,
        asked: str,
        find: Callable[[int], str],
        wheel: tuple[list[str], list[str]],
        build: str = "git-branch=HEAD",
        device: int = 0,
    ) -> tuple[str, str]:
        self._patch.setattr(providers.ort, "get_available_providers", lambda: wheel[0])
        self._patch.setattr(providers.ort, "get_build_info", lambda: build)
        self._patch.setattr(providers, "installed_wheels", lambda: wheel[1])
        self._patch.setattr(providers, "find_gpu", find)
        return choose_provider(asked, device)  # type: ignore[arg-type]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    return Installed(monkeypatch)


def test_the_cpu_needs_no_reason(installed: Installed) -> None:
    assert installed.choose("cpu", no_card, CPU_WHEEL) == ("cpu", "asked for")


def test_auto_takes_a_card_that_can_be_used_and_tells_which(installed: Installed) -> None:
    assert installed.choose("auto", card, GPU_WHEEL, device=1) == ("cuda", "GPU 1 is NVIDIA H100")


@pytest.mark.parametrize(
    ("find", "wheel", "reason"),
    [
        (no_card, GPU_WHEEL, "no CUDA-capable device is detected"),
        (card, CPU_WHEEL, "the ONNX Runtime that is installed is the one for CPUs"),
    ],
)
def test_auto_takes_the_cpu_where_there_is_no_card_and_says_why(
    installed: Installed, find: Any, wheel: Any, reason: str
) -> None:
    assert installed.choose("auto", find, wheel) == ("cpu", reason)


@pytest.mark.parametrize(
    ("find", "wheel", "sentence"),
    [
        (no_card, GPU_WHEEL, "CUDAExecutionProvider was asked for, but no CUDA-capable device is detected"),
        (
            card,
            CPU_WHEEL,
            f"{CUDA} was asked for, but the ONNX Runtime that is installed is the one for CPUs: "
            "pip uninstall onnxruntime, then pip install 'clipsearch[gpu]'",
        ),
        (
            card,
            ([CPU], ["onnxruntime", "onnxruntime-gpu"]),
            f"{CUDA} was asked for, but onnxruntime and onnxruntime-gpu are both installed and have "
            "overwritten each other's files: pip uninstall onnxruntime onnxruntime-gpu, "
            "then install one of them",
        ),
    ],
)
def test_what_was_asked_for_and_cannot_be_had_is_one_sentence(
    installed: Installed, find: Any, wheel: Any, sentence: str
) -> None:
    with pytest.raises(SessionError) as caught:
        installed.choose("cuda", find, wheel)
    assert str(caught.value) == sentence


def test_a_build_whose_sessions_share_memory_is_not_used(installed: Installed) -> None:
    with pytest.raises(SessionError, match="CUDA is a plugin, whose sessions share memory"):
        installed.choose("cuda", card, GPU_WHEEL, build="git-branch=HEAD, cuda-plugin-ep=1")


def test_a_card_that_cannot_be_used_is_told_in_cudas_words() -> None:
    pytest.importorskip("cuda.bindings")
    with pytest.raises(SessionError, match=r"GPU 99 cannot be used: .*(driver|device)"):
        find_gpu(99)


def test_cuda_is_bounded_and_exact() -> None:
    [(name, options)] = provider_options("cuda", device=2, memory_mb=4096)
    assert name == CUDA
    assert (options["device_id"], options["gpu_mem_limit"]) == ("2", str(4 * 2**30))
    assert (options["use_tf32"], options["enable_skip_layer_norm_strict_mode"]) == ("0", "1")
    assert "gpu_mem_limit" not in provider_options("cuda", device=0, memory_mb=0)[0][1]


def placed(first: str, **nodes: list[str]) -> Any:
    """A session whose providers took these nodes."""
    parts = [
        SimpleNamespace(ep_name=f"{name}ExecutionProvider", get_nodes=lambda kinds=kinds: [
            SimpleNamespace(op_type=kind) for kind in kinds
        ])
        for name, kinds in nodes.items()
    ]  # fmt: skip
    return SimpleNamespace(
        get_providers=lambda: [first, CPU], get_provider_graph_assignment_info=lambda: parts
    )


def test_arithmetic_on_shapes_may_stay_on_the_cpu() -> None:
    check_placement(placed(CUDA, CUDA=["MatMul", "Attention"], CPU=["Concat", "Gather"]), "g.onnx", "cuda")


@pytest.mark.parametrize(
    ("opened", "sentence"),
    [
        (placed(CPU), "CUDAExecutionProvider was asked for, but ONNX Runtime gave CPUExecutionProvider"),
        (placed(CUDA, CPU=["Concat"]), "takes no node of the graph"),
        (placed(CUDA, CUDA=["MatMul"], CPU=["TopK", "ArgMax"]), "ArgMax, TopK would run on the CPU"),
    ],
)
def test_a_graph_that_does_not_run_on_the_card_is_refused(opened: Any, sentence: str) -> None:
    with pytest.raises(SessionError, match=sentence):
        check_placement(opened, "g.onnx", "cuda")
