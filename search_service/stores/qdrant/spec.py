"""A collection's settings as a Qdrant server keeps them: its own, and ours in the collection's metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import TypeAdapter
from qdrant_client import models

from search_service.stores.bm25 import WORDS
from search_service.stores.collection import (
    USUAL_TEXT,
    CollectionSpec,
    IndexType,
    Optimizers,
    PayloadIndex,
    Quantization,
    QuantizationParams,
    TextIndex,
    Tokenizer,
)
from search_service.stores.protocol import VECTOR_NAMES

# Our keys in a collection's metadata, for what Qdrant does not keep itself: the fingerprint, the model and
# the field with the words, which never change, and facts that do. The server merges keys, so each of those
# has one of its own.
_METADATA = "clipsearch"
SUCCESSOR = "clipsearch_successor"
CALIBRATION = "clipsearch_calibration"

_QUANTIZATION: TypeAdapter[models.QuantizationConfig] = TypeAdapter(models.QuantizationConfig)


def index_schema(index: PayloadIndex) -> Any:
    """What makes a payload index."""
    if index == "tenant":
        return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    if index != "text" and not isinstance(index, TextIndex):
        return models.PayloadSchemaType(index)
    text = USUAL_TEXT if index == "text" else index
    stopwords = models.StopwordsSet(
        languages=[models.Language(name) for name in text.stopword_languages] or None,
        custom=list(text.stopwords) or None,
    )
    return models.TextIndexParams(
        type=models.TextIndexType.TEXT,
        tokenizer=models.TokenizerType(text.tokenizer),
        lowercase=text.lowercase,
        min_token_len=text.min_token_len or None,
        max_token_len=text.max_token_len or None,
        stemmer=models.SnowballParams(
            type=models.Snowball.SNOWBALL, language=models.SnowballLanguage(text.stemmer)
        )
        if text.stemmer
        else None,
        stopwords=stopwords if text.stopword_languages or text.stopwords else None,
        phrase_matching=text.phrase_matching or None,
    )


def creation(spec: CollectionSpec) -> dict[str, Any]:
    """The arguments of `create_collection`."""
    params = models.VectorParams(
        size=spec.dimension, distance=models.Distance.COSINE, on_disk=spec.on_disk_vectors
    )
    return {
        "vectors_config": dict.fromkeys(VECTOR_NAMES, params),
        "sparse_vectors_config": {WORDS: _words(spec.on_disk_vectors)} if spec.bm25_field else None,
        "hnsw_config": models.HnswConfigDiff(
            m=spec.hnsw_m or None,
            ef_construct=spec.hnsw_ef_construct or None,
            full_scan_threshold=spec.hnsw_full_scan_threshold_kb or None,
            on_disk=spec.hnsw_on_disk,
        ),
        "quantization_config": _quantization(spec),
        "on_disk_payload": spec.on_disk_payload,
        # None leaves it to the server, whose defaults an operator may have set for the cluster.
        "shard_number": spec.shard_number or None,
        "replication_factor": spec.replication_factor or None,
        "write_consistency_factor": spec.write_consistency_factor or None,
        "metadata": {
            _METADATA: {
                "fingerprint": spec.fingerprint,
                "model": spec.model,
                **({"bm25_field": spec.bm25_field} if spec.bm25_field else {}),
            }
        },
    }


def _words(on_disk: bool) -> models.SparseVectorParams:
    return models.SparseVectorParams(
        index=models.SparseIndexParams(on_disk=on_disk), modifier=models.Modifier.IDF
    )


def alteration(spec: CollectionSpec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `update_collection`."""
    arguments: dict[str, Any] = {}
    hnsw = {
        name.removeprefix("hnsw_").removesuffix("_kb"): value
        for name, value in changes.items()
        if name.startswith("hnsw_")
    }
    if hnsw:
        arguments["hnsw_config"] = models.HnswConfigDiff(**hnsw)
    params = {name: changes[name] for name in models.CollectionParamsDiff.model_fields if name in changes}
    if params:
        arguments["collection_params"] = models.CollectionParamsDiff(**params)
    if "on_disk_vectors" in changes:
        diff = models.VectorParamsDiff(on_disk=changes["on_disk_vectors"])
        arguments["vectors_config"] = dict.fromkeys(VECTOR_NAMES, diff)
        if spec.bm25_field:
            arguments["sparse_vectors_config"] = {WORDS: _words(changes["on_disk_vectors"])}
    if "quantization" in changes or "quantization_params" in changes:
        changed = dataclasses.replace(spec, **changes)
        arguments["quantization_config"] = _quantization(changed) or models.Disabled.DISABLED
    if "optimizers" in changes:
        values = dataclasses.asdict(changes["optimizers"])
        arguments["optimizers_config"] = models.OptimizersConfigDiff(
            **{name.removesuffix("_kb"): value for name, value in values.items()}
        )
    return arguments


def read_spec(name: str, described: models.CollectionInfo) -> CollectionSpec | None:
    """The collection's settings, with the server's defaults; None if clipsearch did not make it."""
    config = described.config
    kept = config.metadata or {}
    made = kept.get(_METADATA)
    vectors = config.params.vectors
    if made is None or not isinstance(vectors, dict):
        return None
    quantization, quantization_params = _read_quantization(config.quantization_config)
    return CollectionSpec(
        name=name,
        dimension=vectors["image"].size,
        fingerprint=made["fingerprint"],
        model=made["model"],
        bm25_field=made.get("bm25_field", ""),
        payload_indexes=_indexes(described),
        hnsw_m=config.hnsw_config.m,
        hnsw_ef_construct=config.hnsw_config.ef_construct,
        hnsw_full_scan_threshold_kb=config.hnsw_config.full_scan_threshold,
        hnsw_on_disk=bool(config.hnsw_config.on_disk),
        quantization=quantization,
        quantization_params=quantization_params,
        on_disk_vectors=bool(vectors["image"].on_disk),
        on_disk_payload=bool(config.params.on_disk_payload),
        shard_number=config.params.shard_number or 0,
        replication_factor=config.params.replication_factor or 0,
        write_consistency_factor=config.params.write_consistency_factor or 0,
        successor=kept.get(SUCCESSOR, ""),
        optimizers=_optimizers(config.optimizer_config),
    )


def _optimizers(config: Any) -> Optimizers:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Optimizers):
        value = getattr(config, field.name.removesuffix("_kb"), None)
        values[field.name] = value if isinstance(value, int | float) else None  # "auto"
    return Optimizers(**values)


def _indexes(described: models.CollectionInfo) -> dict[str, PayloadIndex]:
    """Those of the types that clipsearch knows."""
    found: dict[str, PayloadIndex] = {}
    for key, info in (described.payload_schema or {}).items():
        kind: Any = info.data_type.value
        if kind == "text":
            found[key] = _text_index(info.params)
        elif getattr(info.params, "is_tenant", False):
            found[key] = "tenant"
        elif kind in get_args(IndexType):
            found[key] = kind
    return found


def _text_index(params: Any) -> PayloadIndex:
    if not isinstance(params, models.TextIndexParams):
        return "text"
    stopwords = params.stopwords or models.StopwordsSet()
    if isinstance(stopwords, models.Language):
        stopwords = models.StopwordsSet(languages=[stopwords])
    tokenizer: Any = params.tokenizer.value if params.tokenizer else "word"
    if tokenizer not in get_args(Tokenizer):  # somebody made it by another API
        return "text"
    index = TextIndex(
        tokenizer=tokenizer,
        lowercase=params.lowercase is not False,
        min_token_len=params.min_token_len or 0,
        max_token_len=params.max_token_len or 0,
        stemmer=params.stemmer.language.value if isinstance(params.stemmer, models.SnowballParams) else "",
        stopword_languages=tuple(sorted(language.value for language in stopwords.languages or ())),
        stopwords=tuple(sorted(stopwords.custom or ())),
        phrase_matching=bool(params.phrase_matching),
    )
    return "text" if index == USUAL_TEXT else index


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What the collection's strict mode permits, None = anything. Timeouts are in seconds."""

    timeout: int | None = None
    results: int | None = None  # of a query, or a page
    allows_exact: bool = True


def read_limits(described: models.CollectionInfo) -> Limits:
    """The limits of the collection's strict mode."""
    strict = described.config.strict_mode_config
    if strict is None or not strict.enabled:
        return Limits()
    return Limits(strict.max_timeout, strict.max_query_limit, strict.search_allow_exact is not False)


def _quantization(spec: CollectionSpec) -> models.QuantizationConfig | None:
    params = spec.quantization_params
    config: dict[str, Any]
    match spec.quantization:
        case "scalar":
            config = {"type": "int8", "quantile": params.quantile or None}
        case "binary":
            config = {"encoding": params.encoding, "query_encoding": params.query_encoding}
        case "product":
            config = {"compression": f"x{params.compression}"}
        case "turbo":
            config = {"bits": f"bits{params.bits:g}".replace(".", "_") if params.bits else None}  # bits1_5
        case "none":
            return None
    return _QUANTIZATION.validate_python({spec.quantization: {**config, "always_ram": params.always_ram}})


def _read_quantization(config: Any) -> tuple[Quantization, QuantizationParams]:
    if config is None:
        return "none", QuantizationParams()
    ((kind, kept),) = config
    ours = {field.name for field in dataclasses.fields(QuantizationParams)}
    read = kept.model_dump(mode="json", exclude_none=True, include=ours)
    if "quantile" in read:
        read["quantile"] = round(read["quantile"], 6)  # it has travelled as a float32
    if "compression" in read:
        read["compression"] = int(read["compression"].removeprefix("x"))
    if "bits" in read:
        read["bits"] = float(read["bits"].removeprefix("bits").replace("_", "."))
    return kind, QuantizationParams(**read)
