"""Plain values to proto requests. No I/O but reading the pictures that are given as paths.

Raises TypeError and ValueError (FilterError for filters) where a value cannot be sent at all; what the
service can judge is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import SupportsIndex, TypeVar

from clipsearch.channel.batches import parts
from clipsearch.client import arguments, values
from clipsearch.client.inputs import (
    BinaryEncoding,
    BinaryQueryEncoding,
    FilterLike,
    Fusion,
    IndexType,
    Kind,
    Picture,
    Point,
    Quantization,
    Search,
    Target,
    Term,
    VectorLike,
    picture_bytes,
)
from clipsearch.encoder.v1 import encoder_pb2, vector_pb2
from clipsearch.filters.convert import to_proto
from clipsearch.search.v1 import collection_pb2, filter_pb2, search_pb2

Name = TypeVar("Name", bound=str)
Value = TypeVar("Value")

F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES
# Longer lists go in several requests; these are within the encoder's default limits.
_TEXTS_A_REQUEST = 128
_IMAGES_A_REQUEST = 32
_IMAGE_BYTES_A_REQUEST = 32 * 1024 * 1024

_TARGETS: dict[Target, search_pb2.Target.ValueType] = {
    "any": search_pb2.TARGET_ANY,
    "image": search_pb2.TARGET_IMAGE,
    "text": search_pb2.TARGET_TEXT,
}
_KINDS: dict[Kind, search_pb2.TermKind.ValueType] = {
    "image": search_pb2.TERM_KIND_IMAGE,
    "text": search_pb2.TERM_KIND_TEXT,
}
FUSIONS: dict[Fusion, search_pb2.Fusion.ValueType] = {
    "calibrated": search_pb2.FUSION_CALIBRATED,
    "rrf": search_pb2.FUSION_RRF,
    "dbsf": search_pb2.FUSION_DBSF,
}
INDEX_TYPES: dict[IndexType, collection_pb2.PayloadIndexType.ValueType] = {
    "keyword": collection_pb2.PAYLOAD_INDEX_TYPE_KEYWORD,
    "integer": collection_pb2.PAYLOAD_INDEX_TYPE_INTEGER,
    "float": collection_pb2.PAYLOAD_INDEX_TYPE_FLOAT,
    "bool": collection_pb2.PAYLOAD_INDEX_TYPE_BOOL,
    "datetime": collection_pb2.PAYLOAD_INDEX_TYPE_DATETIME,
    "text": collection_pb2.PAYLOAD_INDEX_TYPE_TEXT,
}
QUANTIZATIONS: dict[Quantization, collection_pb2.Quantization.ValueType] = {
    "none": collection_pb2.QUANTIZATION_NONE,
    "scalar": collection_pb2.QUANTIZATION_SCALAR,
    "binary": collection_pb2.QUANTIZATION_BINARY,
    "product": collection_pb2.QUANTIZATION_PRODUCT,
    "turbo": collection_pb2.QUANTIZATION_TURBO,
}
ENCODINGS: dict[BinaryEncoding, collection_pb2.BinaryEncoding.ValueType] = {
    "one_bit": collection_pb2.BINARY_ENCODING_ONE_BIT,
    "one_and_half_bits": collection_pb2.BINARY_ENCODING_ONE_AND_HALF_BITS,
    "two_bits": collection_pb2.BINARY_ENCODING_TWO_BITS,
}
QUERY_ENCODINGS: dict[BinaryQueryEncoding, collection_pb2.BinaryQueryEncoding.ValueType] = {
    "default": collection_pb2.BINARY_QUERY_ENCODING_DEFAULT,
    "binary": collection_pb2.BINARY_QUERY_ENCODING_BINARY,
    "scalar4bits": collection_pb2.BINARY_QUERY_ENCODING_SCALAR_4BITS,
    "scalar8bits": collection_pb2.BINARY_QUERY_ENCODING_SCALAR_8BITS,
}


def search(
    collection: str,
    *,
    text: str | None = None,
    image: Picture | None = None,
    vector: VectorLike | None = None,
    point_id: str | None = None,
    query: Sequence[Term] = (),
    target: Target = "any",
    filter: FilterLike | None = None,
    limit: int = 10,
    offset: int = 0,
    score_threshold: float | None = None,
    exact: bool = False,
    hnsw_ef: int = 0,
    rescore: bool | None = None,
    oversampling: float = 0.0,
    fusion: Fusion = "calibrated",
    fingerprint: str = "",
    payload: bool | Sequence[str] = True,
    with_vectors: bool = False,
) -> search_pb2.SearchRequest:
    """One search; see `clipsearch.client.inputs.SearchOptions`. `limit` 0 would mean 10, so it is refused."""
    arguments.string(collection, "collection")
    for argument, number in (("limit", limit), ("offset", offset), ("hnsw_ef", hnsw_ef)):
        if not isinstance(number, SupportsIndex) or isinstance(number, bool):
            raise TypeError(f"{argument}: must be a whole number, is {number!r}")
    if limit < 1:
        raise ValueError(f"limit: must be at least 1, is {limit}")
    if offset < 0:
        raise ValueError(f"offset: must not be negative, is {offset}")
    named = (("text", text), ("image", image), ("vector", vector), ("point_id", point_id))
    single = [Term(**{name: value}) for name, value in named if value is not None]  # type: ignore[arg-type]
    request = search_pb2.SearchRequest(
        collection=collection,
        target=_choice("target", target, _TARGETS),
        filter=optional_filter(filter),
        limit=limit,
        offset=offset,
        score_threshold=score_threshold,
        with_vectors=with_vectors,
        params=search_pb2.SearchParams(
            exact=exact,
            hnsw_ef=hnsw_ef,
            quantization_rescore=rescore,
            quantization_oversampling=oversampling,
        ),
        fusion=_choice("fusion", fusion, FUSIONS),
        payload=payload_selector(payload),
        fingerprint=fingerprint,
        vector_format=F32,
    )
    terms = arguments.each(query, Term, "query", "terms")
    for i, term in enumerate([*single, *terms]):  # filled in place: a picture is copied once, not twice
        _fill_term(request.query.add(), term, f"query[{i}]")
    return request


def search_batch(collection: str, searches: Iterable[Search]) -> search_pb2.SearchBatchRequest:
    """Several searches of one collection."""
    request = search_pb2.SearchBatchRequest()
    for i, options in enumerate(arguments.listed(searches, "searches", "searches such as {'text': 'a cat'}")):
        if not isinstance(options, Mapping):
            raise TypeError(f"searches[{i}]: must be a dict such as {{'text': 'a cat'}}, is {options!r}")
        request.searches.append(search(collection, **options))
    return request


def upsert(
    collection: str,
    points: Iterable[Point],
    *,
    wait: bool = True,
    insert_only: bool = False,
    fingerprint: str = "",
) -> search_pb2.UpsertRequest:
    """Points to write. Reads their pictures."""
    request = search_pb2.UpsertRequest(
        collection=collection,
        wait=wait,
        update_mode=search_pb2.UPDATE_MODE_INSERT_ONLY if insert_only else search_pb2.UPDATE_MODE_UPSERT,
        fingerprint=fingerprint,
    )
    # Filled in place: points made one by one and copied take three times as long.
    for i, point in enumerate(arguments.each(points, Point, "points", "points")):
        _fill(request.points.add(id=arguments.point_id(point.id, f"points[{i}].id")), point)
    return request


def get_points(
    collection: str, ids: Iterable[str], *, payload: bool | Sequence[str] = True, with_vectors: bool = False
) -> search_pb2.GetPointsRequest:
    """Points to read."""
    return search_pb2.GetPointsRequest(
        collection=collection,
        ids=arguments.ids(ids, "ids"),
        payload=payload_selector(payload),
        with_vectors=with_vectors,
        vector_format=F32,
    )


def delete_points(
    collection: str, ids: Iterable[str] | None, filter: FilterLike | None
) -> search_pb2.DeletePointsRequest:
    """Points to delete, by ids or by filter."""
    if (ids is None) == (filter is None):
        raise ValueError("give either ids or filter")
    if ids is not None:
        return search_pb2.DeletePointsRequest(
            collection=collection, ids=search_pb2.PointIds(ids=arguments.ids(ids, "ids"))
        )
    return search_pb2.DeletePointsRequest(collection=collection, filter=optional_filter(filter))


def list_points(
    collection: str,
    *,
    page_token: str = "",
    page_size: int = 100,
    filter: FilterLike | None = None,
    payload: bool | Sequence[str] = True,
    with_vectors: bool = False,
) -> search_pb2.ListPointsRequest:
    """One page of points."""
    return search_pb2.ListPointsRequest(
        collection=collection,
        filter=optional_filter(filter),
        page_size=page_size,
        page_token=page_token,
        with_vectors=with_vectors,
        payload=payload_selector(payload),
        vector_format=F32,
    )


def create_collection(
    name: str,
    *,
    payload_indexes: Mapping[str, IndexType] | None = None,
    hnsw_m: int = 0,
    hnsw_ef_construct: int = 0,
    hnsw_full_scan_threshold_kb: int = 0,
    hnsw_on_disk: bool = False,
    quantization: Quantization = "none",
    quantization_always_ram: bool = False,
    quantization_quantile: float = 0.0,
    quantization_encoding: BinaryEncoding | None = None,
    quantization_query_encoding: BinaryQueryEncoding | None = None,
    quantization_compression: int = 0,
    quantization_bits: float = 0.0,
    on_disk_vectors: bool = False,
    on_disk_payload: bool = True,
    shard_number: int = 0,
    replication_factor: int = 0,
    write_consistency_factor: int = 0,
    dimension: int = 0,
    fingerprint: str = "",
    model: str = "",
) -> collection_pb2.CreateCollectionRequest:
    """A collection to create."""
    if payload_indexes is not None and not isinstance(payload_indexes, Mapping):
        raise TypeError(
            "payload_indexes: must map fields to types, such as {'price': 'float'}, "
            f"is {payload_indexes!r} of type {type(payload_indexes).__name__}"
        )
    return collection_pb2.CreateCollectionRequest(
        name=arguments.string(name, "name"),
        payload_indexes=[payload_index(field, type) for field, type in (payload_indexes or {}).items()],
        hnsw=collection_pb2.HnswConfig(
            m=hnsw_m,
            ef_construct=hnsw_ef_construct,
            full_scan_threshold_kb=hnsw_full_scan_threshold_kb,
            on_disk=hnsw_on_disk,
        ),
        quantization=_choice("quantization", quantization, QUANTIZATIONS),
        quantization_params=collection_pb2.QuantizationParams(
            always_ram=quantization_always_ram,
            quantile=quantization_quantile,
            encoding=collection_pb2.BINARY_ENCODING_UNSPECIFIED
            if quantization_encoding is None
            else _choice("quantization_encoding", quantization_encoding, ENCODINGS),
            query_encoding=collection_pb2.BINARY_QUERY_ENCODING_UNSPECIFIED
            if quantization_query_encoding is None
            else _choice("quantization_query_encoding", quantization_query_encoding, QUERY_ENCODINGS),
            compression=quantization_compression,
            bits=quantization_bits,
        ),
        on_disk_vectors=on_disk_vectors,
        on_disk_payload=on_disk_payload,
        shard_number=shard_number,
        replication_factor=replication_factor,
        write_consistency_factor=write_consistency_factor,
        dimension=dimension,
        fingerprint=fingerprint,
        model=model,
    )


def encode_texts(texts: Iterable[str]) -> Iterator[tuple[int, encoder_pb2.EncodeTextRequest]]:
    """Texts to encode, in as many requests as they need; each with the position of its first text."""
    given = arguments.strings(texts, "texts", "texts")
    for first in range(0, len(given), _TEXTS_A_REQUEST):
        part = given[first : first + _TEXTS_A_REQUEST]
        yield first, encoder_pb2.EncodeTextRequest(texts=part, format=F32)


def encode_images(images: Iterable[Picture]) -> Iterator[tuple[int, encoder_pb2.EncodeImageRequest]]:
    """Pictures to encode, likewise. Reads them as they are needed."""
    first = 0
    for part in parts(_pictures(images), _IMAGES_A_REQUEST, _IMAGE_BYTES_A_REQUEST):
        yield first, encoder_pb2.EncodeImageRequest(images=part, format=F32)
        first += len(part)


def classify(
    images: Iterable[Picture], labels: Iterable[str], prompt_template: str
) -> Iterator[encoder_pb2.ClassifyRequest]:
    """Pictures and the labels to choose from, likewise."""
    choices = arguments.strings(labels, "labels", "labels")
    arguments.string(prompt_template, "prompt_template")
    for part in parts(_pictures(images), _IMAGES_A_REQUEST, _IMAGE_BYTES_A_REQUEST):
        yield encoder_pb2.ClassifyRequest(images=part, labels=choices, prompt_template=prompt_template)


def payload_index(field: str, type: IndexType) -> collection_pb2.PayloadIndex:
    """A payload index."""
    return collection_pb2.PayloadIndex(
        field=arguments.string(field, "field"), type=_choice(f"payload index {field!r}", type, INDEX_TYPES)
    )


def optional_filter(filter: FilterLike | None) -> filter_pb2.Filter | None:
    """The filter as it travels, or nothing."""
    return None if filter is None else to_proto(filter)


def payload_selector(payload: bool | Sequence[str]) -> search_pb2.PayloadSelector | None:
    """All of the payload (True), none of it (False), or some fields."""
    if payload is True:
        return None
    if payload is False:
        return search_pb2.PayloadSelector(none=True)
    fields = arguments.strings(payload, "payload", "fields (or True, or False)", ordered=False)
    return search_pb2.PayloadSelector(include=fields) if fields else search_pb2.PayloadSelector(none=True)


def _pictures(images: Iterable[Picture]) -> Iterator[bytes]:
    """The pictures' bytes, read as they are asked for."""
    for i, image in enumerate(arguments.listed(images, "images", "pictures")):
        yield picture_bytes(image, f"images[{i}]")


def _fill_term(proto: search_pb2.QueryTerm, term: Term, where: str) -> None:
    given = [name for name in ("text", "image", "vector", "point_id") if getattr(term, name) is not None]
    if len(given) != 1:
        raise ValueError(
            f"{where}: must hold exactly one of text, image, vector and point_id, holds {given or 'none'}"
        )
    proto.weight = term.weight
    if term.kind is not None:
        if term.vector is None:
            raise ValueError(f"{where}: kind is of a vector only; the kind of other terms is known")
        proto.kind = _choice(f"{where}.kind", term.kind, _KINDS)
    if term.text is not None:
        proto.text = arguments.string(term.text, f"{where}.text")
    elif term.image is not None:
        proto.image = picture_bytes(term.image, f"{where}.image")
    elif term.vector is not None:
        proto.vector.CopyFrom(values.vector(term.vector))
    elif term.point_id is not None:
        proto.point_id = arguments.point_id(term.point_id, f"{where}.point_id")


def _fill(proto: search_pb2.Point, point: Point) -> None:
    if point.image is not None:
        proto.image = picture_bytes(point.image, f"point {point.id!r}: image")
    if point.text is not None:
        proto.text = arguments.string(point.text, f"point {point.id!r}: text")
    if point.image_vector is not None:
        proto.image_vector.f32 = values.f32(point.image_vector)
    if point.text_vector is not None:
        proto.text_vector.f32 = values.f32(point.text_vector)
    if point.payload:
        values.fill_struct(proto.payload, point.payload, f"point {point.id!r}: payload")


def _choice(field: str, value: Name, known: Mapping[Name, Value]) -> Value:
    if value not in known:
        raise ValueError(f"{field}: {value!r} is none of {', '.join(known)}")
    return known[value]
