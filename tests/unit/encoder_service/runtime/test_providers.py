"""The provider that runs is the one asked for, with all nodes on the card; or there is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from encoder_service.bundle import graph_file, read_manifest
from encoder_service.runtime import providers, session
from encoder_service.runtime.cuda import CudaError, Gpu
from encoder_service.runtime.feeding import tensorrt_shapes
from encoder_service.runtime.providers import (
    Choice,
    Device,
    SessionError,
    both_wheels,
    check_placement,
    choose_provider,
    provider_options,
)
from encoder_service.runtime.session import OnnxSession, first_line

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
GPU_WHEEL = {"available": [TENSORRT, CUDA, CPU], "wheels": ["onnxruntime-gpu"]}
CPU_WHEEL = {"available": [CPU], "wheels": ["onnxruntime"]}


def card(device: int) -> Gpu:
    return Gpu(device, "NVIDIA H100", 80 * 2**30)


def no_card(device: int) -> Gpu:
    raise CudaError("the NVIDIA driver finds no GPU")


def choose(asked: str, find: Callable[[int], Gpu] = card, device: int = 0, **wheel: Any) -> Choice:
    return choose_provider(asked, device, find=find, **wheel)  # type: ignore[arg-type]


def test_the_cpu_needs_no_reason() -> None:
    assert choose("cpu", no_card, **CPU_WHEEL) == Choice("cpu", "asked for")


def test_auto_takes_a_card_that_can_be_used_and_tells_which() -> None:
    assert choose("auto", device=1, **GPU_WHEEL) == Choice("cuda", "GPU 1 is NVIDIA H100 with 81920 MiB")


@pytest.mark.parametrize(
    ("find", "wheel", "reason"),
    [
        (no_card, GPU_WHEEL, "the NVIDIA driver finds no GPU"),
        (card, CPU_WHEEL, "the ONNX Runtime that is installed is the one for CPUs"),
    ],
)
def test_auto_takes_the_cpu_where_there_is_no_card_and_says_why(find: Any, wheel: Any, reason: str) -> None:
    assert choose("auto", find, **wheel) == Choice("cpu", reason)


@pytest.mark.parametrize(
    ("find", "wheel", "sentence"),
    [
        (no_card, GPU_WHEEL, "CUDAExecutionProvider was asked for, but the NVIDIA driver finds no GPU"),
        (
            card,
            CPU_WHEEL,
            f"{CUDA} was asked for, but the ONNX Runtime that is installed is the one for CPUs: "
            "pip uninstall onnxruntime, then pip install 'clipsearch[gpu]'",
        ),
        (
            card,
            {"available": [CPU], "wheels": ["onnxruntime", "onnxruntime-gpu"]},
            f"{CUDA} was asked for, but onnxruntime and onnxruntime-gpu are both installed and have "
            "overwritten each other's files: pip uninstall onnxruntime onnxruntime-gpu, "
            "then install one of them",
        ),
    ],
)
def test_what_was_asked_for_and_cannot_be_had_is_one_sentence(find: Any, wheel: Any, sentence: str) -> None:
    with pytest.raises(SessionError) as caught:
        choose("cuda", find, **wheel)
    assert str(caught.value) == sentence


def test_tensorrt_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise CudaError("libnvinfer.so.10 is not found")

    monkeypatch.setattr(providers, "find_tensorrt", missing)
    with pytest.raises(SessionError, match=f"^{TENSORRT} was asked for, but libnvinfer"):
        choose("tensorrt", **GPU_WHEEL)


def test_one_wheel_is_no_problem() -> None:
    assert both_wheels(["onnxruntime"]) == both_wheels([]) == ""


def test_here_is_exactly_one_wheel() -> None:
    assert len(providers.installed_wheels()) == 1


def test_cuda_is_bounded_exact_and_captures_graphs() -> None:
    [(name, options)] = provider_options("cuda", Device(2, 4096))
    assert name == CUDA
    assert options["device_id"] == "2"
    assert options["gpu_mem_limit"] == str(4 * 2**30)
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert (options["use_tf32"], options["enable_cuda_graph"]) == ("0", "1")
    assert "gpu_mem_limit" not in provider_options("cuda", Device())[0][1]


def test_tensorrt_knows_its_shapes_keeps_its_engines_and_has_cuda_behind_it(
    toy_bundle: Path, tmp_path: Path
) -> None:
    shapes = tensorrt_shapes(read_manifest(toy_bundle), "text")
    (first, tensorrt), (second, cuda) = provider_options("tensorrt", Device(1), shapes, tmp_path)
    assert (first, second) == (TENSORRT, CUDA)
    assert tensorrt["trt_profile_min_shapes"] == "input_ids:1x1,attention_mask:1x1"
    assert tensorrt["trt_profile_max_shapes"] == "input_ids:1024x12,attention_mask:1024x12"
    assert tensorrt["trt_engine_cache_path"] == str(tmp_path)
    assert cuda["enable_cuda_graph"] == "0"
    assert tensorrt_shapes(read_manifest(toy_bundle), "image")["pixels"][0] == (1, 8, 8, 3)


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


def test_a_real_session_tells_where_its_nodes_are(toy_bundle: Path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(str(toy_bundle / graph_file("image", "fp32")), options, providers=[CPU])
    assert sum(providers.nodes_by_provider(session)[CPU].values()) > 0


def test_a_session_on_a_provider_that_the_wheel_has_not_does_not_open(toy_bundle: Path) -> None:
    with pytest.warns(UserWarning, match=CUDA), pytest.raises(SessionError, match=CUDA):
        OnnxSession(toy_bundle / graph_file("image", "fp32"), "cuda", threads=1)


def test_a_graph_that_cannot_be_captured_names_the_nodes_that_are_not_on_the_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    def open_session(path: str, options: Any, providers: Any, **_: Any) -> Any:
        opened.append(providers[0][1]["enable_cuda_graph"])
        if opened[-1] == "1":
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user")
        return placed(CUDA, CUDA=["MatMul"], CPU=["ArgMax"])

    monkeypatch.setattr(session.ort, "InferenceSession", open_session)
    with pytest.raises(SessionError, match=r"^text\.fp32\.onnx: ArgMax would run on the CPU"):
        OnnxSession(Path("text.fp32.onnx"), "cuda", threads=1)
    assert opened == ["1", "0"]


def test_an_error_is_told_without_its_place_in_onnx_runtimes_source() -> None:
    error = Exception(
        "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/onnxruntime/core/"
        "cuda_call.cc:105 void onnxruntime::CudaCall(ERRTYPE) [with ERRTYPE = cudnnStatus_t; bool THRW = 1] "
        "cuDNN is unavailable\nmore"
    )
    assert first_line(error) == "Exception during initialization: cuDNN is unavailable"
