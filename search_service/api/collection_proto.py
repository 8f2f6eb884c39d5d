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

_INDEX_TYPES = EnumNames[IndexType, pb.PayloadIndexType.ValueType](IndexType, pb.PayloadIndexType)
_QUANTIZATIONS = EnumNames[Quantization, pb.Quantization.ValueType](Quantization, pb.Quantization, "none")
_ENCODINGS = EnumNames[BinaryEncoding, pb.BinaryEncoding.ValueType](
    BinaryEncoding, pb.BinaryEncoding, "one_bit"
)
_QUERY_ENCODINGS = EnumNames[BinaryQueryEncoding, pb.BinaryQueryEncoding.ValueType](
    BinaryQueryEncoding, pb.BinaryQueryEncoding, "default"
)
_TOKENIZERS = EnumNames[Tokenizer, pb.TokenizerType.ValueType](Tokenizer, pb.TokenizerType, "word")
# What is called the same in messages and in a CollectionSpec.
_SAME = ("name", "dimension", "fingerprint", "model", "on_disk_vectors")
_CLUSTER = ("shard_number", "replication_factor", "write_consistency_factor")
_HNSW = ("m", "ef_construct", "full_scan_threshold_kb", "on_disk")
_TEXT = ("min_token_len", "max_token_len", "stemmer", "phrase_matching")  # in a TextIndex
_CHANGED = ("on_disk_vectors", "on_disk_payload", "replication_factor", "write_consistency_factor")
_COUNTED = ("points", "image_vectors", "text_vectors", "indexed_share", "disk_bytes", "damage")
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
        **{name: getattr(request, name) for name in (*_SAME, *_CLUSTER)},
        **{f"hnsw_{name}": getattr(request.hnsw, name) for name in _HNSW},
        payload_indexes=_read_indexes(request.payload_indexes),
        quantization=quantization,
        quantization_params=_read_params(quantization, request.quantization_params),
        on_disk_payload=request.on_disk_payload if request.HasField("on_disk_payload") else True,
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
        **{name: getattr(proto, name) for name in _TEXT},
        tokenizer=_TOKENIZERS.name(proto.tokenizer, f"{field}.tokenizer"),
        lowercase=proto.lowercase if proto.HasField("lowercase") else True,
        stopword_languages=tuple(sorted(set(proto.stopwords.languages))),
        stopwords=tuple(sorted(set(words))),
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
                **{name: getattr(index, name) for name in (*_TEXT, "lowercase")},
                tokenizer=_TOKENIZERS.numbers[index.tokenizer],
                stopwords=pb.Stopwords(languages=index.stopword_languages, custom=index.stopwords),
            )
        )
    return proto


def write_collection(info: CollectionInfo) -> pb.Collection:
    """The collection as it travels."""
    spec = info.spec
    own = (*_SAME, "on_disk_payload", "bm25_field", "successor")
    said: dict[str, Any] = {name: getattr(spec, name) for name in own}
    said |= {name: getattr(spec, name) or 1 for name in _CLUSTER}
    said |= {name: getattr(info, name) for name in _COUNTED}
    return pb.Collection(
        **said,
        aliases=sorted(info.aliases),
        payload_indexes=[
            _write_index(key, spec.payload_indexes[key]) for key in sorted(spec.payload_indexes)
        ],
        hnsw=pb.HnswConfig(**{name: getattr(spec, f"hnsw_{name}") for name in _HNSW}),
        quantization=_QUANTIZATIONS.numbers[spec.quantization],
        quantization_params=_write_params(spec),
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
    params = dataclasses.asdict(spec.quantization_params)
    encoding, query_encoding = params.pop("encoding"), params.pop("query_encoding")
    if spec.quantization == "binary":
        params["encoding"] = _ENCODINGS.numbers[encoding]
        params["query_encoding"] = _QUERY_ENCODINGS.numbers[query_encoding]
    return pb.QuantizationParams(**params)
