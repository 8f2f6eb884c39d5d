"""A collection's settings as a Qdrant server keeps them: its own, and ours in the collection's metadata."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

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
_SUCCESSOR = "clipsearch_successor"
_CALIBRATION = "clipsearch_calibration"

_INDEX_SCHEMAS: dict[IndexType, Any] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
    "datetime": models.PayloadSchemaType.DATETIME,
    "geo": models.PayloadSchemaType.GEO,
}


def index_schema(index: PayloadIndex) -> Any:
    """What makes a payload index."""
    if index != "text" and not isinstance(index, TextIndex):
        return _INDEX_SCHEMAS[index]
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

    def given(**names: str) -> dict[str, Any]:
        return {name: changes[own] for name, own in names.items() if own in changes}

    arguments: dict[str, Any] = {}
    hnsw = given(
        m="hnsw_m",
        ef_construct="hnsw_ef_construct",
        full_scan_threshold="hnsw_full_scan_threshold_kb",
        on_disk="hnsw_on_disk",
    )
    if hnsw:
        arguments["hnsw_config"] = models.HnswConfigDiff(**hnsw)
    params = given(
        replication_factor="replication_factor",
        write_consistency_factor="write_consistency_factor",
        on_disk_payload="on_disk_payload",
    )
    if params:
        arguments["collection_params"] = models.CollectionParamsDiff(**params)
    if "on_disk_vectors" in changes:
        diff = models.VectorParamsDiff(on_disk=changes["on_disk_vectors"])
        arguments["vectors_config"] = dict.fromkeys(VECTOR_NAMES, diff)
        if spec.bm25_field:
            arguments["sparse_vectors_config"] = {WORDS: _words(changes["on_disk_vectors"])}
    if "quantization" in changes or "quantization_params" in changes:
        changed = dataclasses.replace(
            spec, **given(quantization="quantization", quantization_params="quantization_params")
        )
        arguments["quantization_config"] = _quantization(changed) or models.Disabled.DISABLED
    if "optimizers" in changes:
        values = dataclasses.asdict(changes["optimizers"])
        arguments["optimizers_config"] = models.OptimizersConfigDiff(
            **{name.removesuffix("_kb"): value for name, value in values.items()}
        )
    return arguments


def successor_metadata(successor: str) -> dict[str, Any]:
    """The link to the successor, "" = none."""
    return {_SUCCESSOR: successor}


def calibration_metadata(calibration: Mapping[str, Any]) -> dict[str, Any]:
    """What searches are calibrated by."""
    return {_CALIBRATION: dict(calibration)}


def read_calibration(described: models.CollectionInfo) -> Mapping[str, Any] | None:
    """The same read again; None if there is none."""
    kept: Mapping[str, Any] | None = (described.config.metadata or {}).get(_CALIBRATION)
    return kept


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
        successor=kept.get(_SUCCESSOR, ""),
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
        if info.data_type.value == "text":
            found[key] = _text_index(info.params)
        elif getattr(info.params, "is_tenant", False):
            found[key] = "tenant"
        elif info.data_type.value in _INDEX_SCHEMAS:
            found[key] = info.data_type.value
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
    params, always_ram = spec.quantization_params, spec.quantization_params.always_ram
    match spec.quantization:
        case "scalar":
            scalar = models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8, quantile=params.quantile or None, always_ram=always_ram
            )
            return models.ScalarQuantization(scalar=scalar)
        case "binary":
            binary = models.BinaryQuantizationConfig(
                encoding=models.BinaryQuantizationEncoding(params.encoding),
                query_encoding=models.BinaryQuantizationQueryEncoding(params.query_encoding),
                always_ram=always_ram,
            )
            return models.BinaryQuantization(binary=binary)
        case "product":
            ratio = models.CompressionRatio(f"x{params.compression}")
            product = models.ProductQuantizationConfig(compression=ratio, always_ram=always_ram)
            return models.ProductQuantization(product=product)
        case "turbo":
            name = f"bits{params.bits:g}".replace(".", "_")  # bits1_5
            bits = models.TurboQuantBitSize(name) if params.bits else None
            turbo = models.TurboQuantQuantizationConfig(bits=bits, always_ram=always_ram)
            return models.TurboQuantization(turbo=turbo)
    return None


def _read_quantization(config: Any) -> tuple[Quantization, QuantizationParams]:
    if config is None:
        return "none", QuantizationParams()
    ((kind, kept),) = config
    given = kept.model_dump(mode="json", exclude_none=True)
    read: dict[str, Any] = {"always_ram": given.get("always_ram", False)}
    for name in ("encoding", "query_encoding"):
        if name in given:
            read[name] = given[name]
    if "quantile" in given:
        read["quantile"] = round(given["quantile"], 6)  # it has travelled as a float32
    if "compression" in given:
        read["compression"] = int(given["compression"].removeprefix("x"))
    if "bits" in given:
        read["bits"] = float(given["bits"].removeprefix("bits").replace("_", "."))
    return kind, QuantizationParams(**read)
