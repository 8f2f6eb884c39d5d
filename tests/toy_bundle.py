"""A bundle small enough to build in a moment, with real graphs and a real tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from encoder_service.bundle import (
    TOKENIZER,
    ImageRules,
    KnownAnswer,
    Manifest,
    Source,
    TextRules,
    encode_vector,
    file_entry,
    graph_file,
    known_answer_pixels,
    space_fingerprint,
    write_manifest,
)

SIZE, DIMENSION, CONTEXT = 8, 16, 12
WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "a", "cat", "dog", "red", "blue", "photo", "of"]


def build_toy(folder: Path) -> None:
    """A bundle whose image vector is of the mean colour and whose text vector is of the bag of words."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    _image_graph(folder / graph_file("image", "fp32"), random)
    _text_graph(folder / graph_file("text", "fp32"), random)
    _tokenizer().save(str(folder / TOKENIZER))
    image = ImageRules(size=SIZE, resize="crop")
    text = TextRules(context_length=CONTEXT, pad_id=0, padding="longest", attention_mask=True)
    names = [graph_file("image", "fp32"), graph_file("text", "fp32"), TOKENIZER]
    files = {name: file_entry(folder / name) for name in names}
    manifest = Manifest(
        format_version=2,
        name="toy",
        source=Source(id="toy", weights_sha256="0" * 64),
        license="Apache-2.0",
        pretrained=False,
        dimension=DIMENSION,
        image=image,
        text=text,
        logit_scale=10.0,
        precisions={"image": ["fp32"], "text": ["fp32"]},
        preferred_cpu={"image": "fp32", "text": "fp32"},
        fingerprint=space_fingerprint("0" * 64, files[TOKENIZER].sha256, image, text, {}),
        files=files,
        known_answer=_known_answer(folder),
    )
    write_manifest(folder, manifest)


def _known_answer(folder: Path) -> KnownAnswer:
    image = ort.InferenceSession(str(folder / graph_file("image", "fp32")))
    text = ort.InferenceSession(str(folder / graph_file("text", "fp32")))
    ids = np.array([_tokenizer().encode("a red cat").ids], dtype=np.int64)
    return KnownAnswer(
        text="a red cat",
        image_vector=encode_vector(image.run(None, {"pixels": known_answer_pixels(SIZE)[None]})[0][0]),
        text_vector=encode_vector(
            text.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
        ),
    )


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    return tokenizer


def _image_graph(path: Path, random: np.random.Generator) -> None:
    weights = random.normal(size=(3, DIMENSION)).astype(np.float32)
    bias = random.normal(size=DIMENSION).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["real", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "edges"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["embeds"], axis=-1, p=2),
    ]
    constants = {
        "scale": np.array(255, np.float32),
        "edges": np.array([1, 2], np.int64),
        "weights": weights,
        "bias": bias,
    }
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
    _save(path, nodes, [pixels], constants)


def _text_graph(path: Path, random: np.random.Generator) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "sequence"], ["raw"], keepdims=0),
        helper.make_node("LpNormalization", ["raw"], ["embeds"], axis=-1, p=2),
    ]
    constants = {
        "table": random.normal(size=(len(WORDS), DIMENSION)).astype(np.float32),
        "last": np.array([2], np.int64),
        "sequence": np.array([1], np.int64),
    }
    shape = ["batch", "sequence_length"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask")
    ]
    _save(path, nodes, inputs, constants)


def _save(path: Path, nodes: list[Any], inputs: list[Any], constants: dict[str, Any]) -> None:
    output = helper.make_tensor_value_info("embeds", TensorProto.FLOAT, ["batch", DIMENSION])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
