"""Collections as they travel: settings read, descriptions written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from clipsearch.search.v1 import collection_pb2 as pb
from clipsearch.serving.errors import InvalidArgument
from search_service.api.point_proto import EnumNames, check_count, check_path
from search_service.query.ranking import candidates
from search_service.settings import MAX_INDEXES, MAX_STOPWORDS
from search_service.stores.collection import (
    USUAL_TEXT,
    BinaryEncoding,
    BinaryQueryEncoding,
    CollectionInfo,
    CollectionSpec,
    IndexType,
    Optimizers,
    PayloadIndex,
    Quantization,
    QuantizationParams,
    TextIndex,
    Tokenizer,
    index_type,
)

_INDEX_TYPES = EnumNames[IndexType, pb.PayloadIndexType.ValueType](
    IndexType, pb.PayloadIndexType, lacking={"tenant"}
)
_QUANTIZATIONS = EnumNames[Quantization, pb.Quantization.ValueType](Quantization, pb.Quantization, "none")
_ENCODINGS = EnumNames[BinaryEncoding, pb.BinaryEncoding.ValueType](
    BinaryEncoding, pb.BinaryEncoding, "one_bit"
)
_QUERY_ENCODINGS = EnumNames[BinaryQueryEncoding, pb.BinaryQueryEncoding.ValueType](
    BinaryQueryEncoding, pb.BinaryQueryEncoding, "default"
)
_TOKENIZERS = EnumNames[Tokenizer, pb.TokenizerType.ValueType](Tokenizer, pb.TokenizerType, "word")
# What can change of a collection, but for what has a message of its own.
_CHANGED = ("on_disk_vectors", "on_disk_payload", "replication_factor", "write_consistency_factor")
_DEFAULT_COMPRESSION = 16
_MAX_TOKEN_LEN = 1000
# Those of Snowball, and those that have stop words, in the engines.
_STEMMED = frozenset(
    """arabic armenian danish dutch english finnish french german greek hungarian italian norwegian portuguese
    romanian russian spanish swedish tamil turkish""".split()  # noqa: SIM905
)
_STOPPED = frozenset(
    """arabic azerbaijani basque bengali catalan chinese danish dutch english finnish french german greek
    hebrew hinglish hungarian indonesian italian japanese kazakh nepali norwegian portuguese romanian
    russian slovene spanish swedish tajik turkish""".split()  # noqa: SIM905
)


def read_spec(request: pb.CreateCollectionRequest) -> CollectionSpec:
    """The collection to create, its values not judged yet. Raises InvalidArgument."""
    quantization = _QUANTIZATIONS.name(request.quantization, "quantization")
    return CollectionSpec(
        name=request.name,
        dimension=request.dimension,
        fingerprint=request.fingerprint,
        model=request.model,
        payload_indexes=_read_indexes(request.payload_indexes),
        hnsw_m=request.hnsw.m,
        hnsw_ef_construct=request.hnsw.ef_construct,
        hnsw_full_scan_threshold_kb=request.hnsw.full_scan_threshold_kb,
        hnsw_on_disk=request.hnsw.on_disk,
        quantization=quantization,
        quantization_params=_read_params(quantization, request.quantization_params),
        on_disk_vectors=request.on_disk_vectors,
        on_disk_payload=request.on_disk_payload if request.HasField("on_disk_payload") else True,
        shard_number=request.shard_number,
        replication_factor=request.replication_factor,
        write_consistency_factor=request.write_consistency_factor,
        bm25_field=check_path(request.bm25_field, "bm25_field") if request.bm25_field else "",
    )


def read_changes(request: pb.UpdateCollectionRequest, spec: CollectionSpec) -> dict[str, Any]:
    """What is to change of these settings, its values not judged yet. Raises InvalidArgument."""
    given = {f"hnsw.{field.name}": value for field, value in request.hnsw.ListFields()}
    given |= {field.name: value for field, value in request.ListFields() if field.name in _CHANGED}
    for field, value in given.items():
        if value == 0 and value is not False:
            raise InvalidArgument(field, "0; to go back to the engine's default, name the value")
    changes: dict[str, Any] = {field.replace(".", "_"): value for field, value in given.items()}
    if request.quantization or request.HasField("quantization_params"):
        quantization = spec.quantization
        if request.quantization:
            changes["quantization"] = quantization = _QUANTIZATIONS.name(request.quantization, "quantization")
        changes["quantization_params"] = _read_params(quantization, request.quantization_params)
    if request.HasField("optimizers"):
        changes["optimizers"] = Optimizers(
            **{field.name: value for field, value in request.optimizers.ListFields()}
        )
    if not changes:
        raise InvalidArgument("request", "no setting is given; nothing would change")
    return changes


def _read_indexes(protos: Sequence[pb.PayloadIndex]) -> dict[str, PayloadIndex]:
    check_count("payload_indexes", len(protos), MAX_INDEXES, least=0)
    indexes: dict[str, PayloadIndex] = {}
    for i, proto in enumerate(protos):
        key, index = read_index(proto, f"payload_indexes[{i}]")
        if key in indexes:
            raise InvalidArgument(f"payload_indexes[{i}].field", f"{key!r} is given twice", "INDEX_REPEATED")
        indexes[key] = index
    return indexes


def read_index(proto: pb.PayloadIndex, field: str) -> tuple[str, PayloadIndex]:
    """A payload index that stands at `field` of the request. Raises InvalidArgument."""
    key = check_path(proto.field, f"{field}.field")
    type = _INDEX_TYPES.name(proto.type, f"{field}.type")
    if proto.is_tenant:
        if type != "keyword":
            raise InvalidArgument(
                f"{field}.is_tenant", f"is for indexes of type keyword, this one's is {type}"
            )
        type = "tenant"
    if not proto.HasField("text"):
        return key, type
    if type != "text":
        raise InvalidArgument(f"{field}.text", f"is for an index of type text, this is one of type {type}")
    index = _read_text_index(proto.text, f"{field}.text")
    return key, type if index == USUAL_TEXT else index


def _read_text_index(proto: pb.TextIndexParams, field: str) -> TextIndex:
    least, most = proto.min_token_len, proto.max_token_len
    if most > _MAX_TOKEN_LEN:
        raise InvalidArgument(f"{field}.max_token_len", f"{most}, at most {_MAX_TOKEN_LEN}")
    if least > (most or _MAX_TOKEN_LEN):
        raise InvalidArgument(f"{field}.min_token_len", f"{least}, at most {most or _MAX_TOKEN_LEN}")
    words, path = proto.stopwords.custom, f"{field}.stopwords"
    check_count(f"{path}.custom", len(words), MAX_STOPWORDS, least=0)
    for i, word in enumerate(words):
        if not word.strip() or len(word) > _MAX_TOKEN_LEN:
            raise InvalidArgument(
                f"{path}.custom[{i}]", f"{len(word)} characters; a word has 1 to {_MAX_TOKEN_LEN}"
            )
    check_count(f"{path}.languages", len(proto.stopwords.languages), MAX_STOPWORDS, least=0)
    for i, language in enumerate(proto.stopwords.languages):
        _check_language(language, _STOPPED, f"{path}.languages[{i}]")
    if proto.stemmer:
        _check_language(proto.stemmer, _STEMMED, f"{field}.stemmer")
    return TextIndex(
        tokenizer=_TOKENIZERS.name(proto.tokenizer, f"{field}.tokenizer"),
        lowercase=proto.lowercase if proto.HasField("lowercase") else True,
        min_token_len=least,
        max_token_len=most,
        stemmer=proto.stemmer,
        stopword_languages=tuple(sorted(set(proto.stopwords.languages))),
        stopwords=tuple(sorted(set(words))),
        phrase_matching=proto.phrase_matching,
    )


def _check_language(name: str, known: frozenset[str], field: str) -> None:
    if name not in known:
        raise InvalidArgument(field, f"{name[:80]!r} is none of {', '.join(sorted(known))}")


def _write_index(key: str, index: PayloadIndex) -> pb.PayloadIndex:
    if index == "tenant":
        return pb.PayloadIndex(field=key, type=pb.PAYLOAD_INDEX_TYPE_KEYWORD, is_tenant=True)
    proto = pb.PayloadIndex(field=key, type=_INDEX_TYPES.numbers[index_type(index)])
    if isinstance(index, TextIndex):
        proto.text.CopyFrom(
            pb.TextIndexParams(
                tokenizer=_TOKENIZERS.numbers[index.tokenizer],
                lowercase=index.lowercase,
                min_token_len=index.min_token_len,
                max_token_len=index.max_token_len,
                stemmer=index.stemmer,
                stopwords=pb.Stopwords(languages=index.stopword_languages, custom=index.stopwords),
                phrase_matching=index.phrase_matching,
            )
        )
    return proto


def write_collection(info: CollectionInfo) -> pb.Collection:
    """The collection as it travels."""
    spec = info.spec
    return pb.Collection(
        name=spec.name,
        fingerprint=spec.fingerprint,
        model=spec.model,
        dimension=spec.dimension,
        points=info.points,
        image_vectors=info.image_vectors,
        text_vectors=info.text_vectors,
        indexed_share=info.indexed_share,
        disk_bytes=info.disk_bytes,
        aliases=sorted(info.aliases),
        payload_indexes=[
            _write_index(key, spec.payload_indexes[key]) for key in sorted(spec.payload_indexes)
        ],
        hnsw=pb.HnswConfig(
            m=spec.hnsw_m,
            ef_construct=spec.hnsw_ef_construct,
            full_scan_threshold_kb=spec.hnsw_full_scan_threshold_kb,
            on_disk=spec.hnsw_on_disk,
        ),
        quantization=_QUANTIZATIONS.numbers[spec.quantization],
        quantization_params=_write_params(spec),
        on_disk_vectors=spec.on_disk_vectors,
        on_disk_payload=spec.on_disk_payload,
        shard_number=spec.shard_number or 1,
        replication_factor=spec.replication_factor or 1,
        write_consistency_factor=spec.write_consistency_factor or 1,
        bm25_field=spec.bm25_field,
        successor=spec.successor,
        damage=info.damage,
        default_candidates=candidates(spec),
        optimizers=None
        if spec.optimizers == Optimizers()
        else pb.OptimizersConfig(**dataclasses.asdict(spec.optimizers)),
    )


def _read_params(quantization: Quantization, proto: pb.QuantizationParams) -> QuantizationParams:
    """Raises InvalidArgument for a parameter of another quantisation: it would change nothing."""
    path = "quantization_params"
    for name, owner in (
        ("quantile", "scalar"),
        ("encoding", "binary"),
        ("query_encoding", "binary"),
        ("compression", "product"),
        ("bits", "turbo"),
    ):
        if getattr(proto, name) and quantization != owner:
            raise InvalidArgument(
                f"{path}.{name}", f"is for quantization {owner}, the collection's is {quantization}"
            )
    if proto.always_ram and quantization == "none":
        raise InvalidArgument(f"{path}.always_ram", "there is no quantization")
    return QuantizationParams(
        always_ram=proto.always_ram,
        quantile=proto.quantile,
        encoding=_ENCODINGS.name(proto.encoding, f"{path}.encoding"),
        query_encoding=_QUERY_ENCODINGS.name(proto.query_encoding, f"{path}.query_encoding"),
        compression=proto.compression or (_DEFAULT_COMPRESSION if quantization == "product" else 0),
        bits=proto.bits,
    )


def _write_params(spec: CollectionSpec) -> pb.QuantizationParams | None:
    if spec.quantization == "none":
        return None
    params = spec.quantization_params
    proto = pb.QuantizationParams(
        always_ram=params.always_ram,
        quantile=params.quantile,
        compression=params.compression,
        bits=params.bits,
    )
    if spec.quantization == "binary":
        proto.encoding = _ENCODINGS.numbers[params.encoding]
        proto.query_encoding = _QUERY_ENCODINGS.numbers[params.query_encoding]
    return proto
