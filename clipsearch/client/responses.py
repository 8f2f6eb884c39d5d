"""Proto responses to plain values; the counterpart of `clipsearch.client.requests`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar

from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from clipsearch.client.convert import (
    ENCODINGS,
    FUSIONS,
    INDEX_TYPES,
    QUANTIZATIONS,
    QUERY_ENCODINGS,
    TOKENIZERS,
    array,
    payload,
)
from clipsearch.client.errors import ClipSearchError, from_status
from clipsearch.client.inputs import PayloadIndex, TextIndex
from clipsearch.client.types import (
    Classification,
    Collection,
    FacetHit,
    Group,
    GroupedResult,
    Hit,
    LabelScore,
    Model,
    Page,
    SearchResult,
    StoredPoint,
    UpsertResult,
    Vector,
    VectorName,
)
from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.search.v1 import collection_pb2, search_pb2

Value = TypeVar("Value", Collection, Model, TextIndex)

_MATCHED: dict[int, VectorName | Literal["words"]] = {
    search_pb2.TARGET_TEXT: "text",
    search_pb2.TARGET_WORDS: "words",
}
_FUSION_NAMES = {value: name for name, value in FUSIONS.items()}
_INDEX_NAMES = {value: name for name, value in INDEX_TYPES.items()}
_TOKENIZER_NAMES = {value: name for name, value in TOKENIZERS.items()}
_ENCODING_NAMES = {value: name for name, value in ENCODINGS.items()}
_QUERY_ENCODING_NAMES = {value: name for name, value in QUERY_ENCODINGS.items()}
_QUANTIZATION_NAMES = {value: name for name, value in QUANTIZATIONS.items()}


def search_result(response: search_pb2.SearchResponse) -> SearchResult:
    """One search's answer."""
    return SearchResult(
        hits=tuple(_hit(hit) for hit in response.hits),
        fused=response.fused,
        fingerprint=response.fingerprint,
        encode_ms=response.timings.encode_ms,
        store_ms=response.timings.store_ms,
        tokens_dropped=dict(response.tokens_dropped),
        weak_match_below=response.weak_match_below,
        fusion=_FUSION_NAMES.get(response.fusion),
    )


def search_results(response: search_pb2.SearchBatchResponse) -> list[SearchResult]:
    """A batch's answers, in the order of the searches."""
    return [search_result(result) for result in response.results]


def grouped_result(response: search_pb2.SearchGroupsResponse) -> GroupedResult:
    """One grouped search's answer."""
    groups = tuple(
        Group(_value(group.id), tuple(_hit(hit) for hit in group.hits)) for group in response.groups
    )
    return GroupedResult(groups, search_result(response.search))


def upsert_results(
    response: search_pb2.UpsertResponse | search_pb2.UpdateVectorsResponse,
) -> list[UpsertResult]:
    """What became of each point, in the order of the request."""
    return [
        UpsertResult(
            id=result.id,
            error=_item_error(result.status),
            tokens_dropped=result.tokens_dropped,
            skipped=result.skipped,
            successor_error=_item_error(result.successor_status),
        )
        for result in response.results
    ]


def stored_points(response: search_pb2.GetPointsResponse) -> list[StoredPoint]:
    """The points that exist, in the order of the request."""
    return [_stored_point(point) for point in response.points]


def page(response: search_pb2.ListPointsResponse) -> Page:
    """A page of points."""
    return Page(tuple(_stored_point(point) for point in response.points), response.next_page_token)


def collection(message: collection_pb2.Collection) -> Collection:
    """A collection's description."""
    hnsw = {f"hnsw_{name}": getattr(message.hnsw, name) for name in message.hnsw.DESCRIPTOR.fields_by_name}
    return _copied(
        Collection,
        message,
        aliases=tuple(message.aliases),
        payload_indexes={index.field: _payload_index(index) for index in message.payload_indexes},
        quantization=_QUANTIZATION_NAMES.get(message.quantization, "none"),
        quantization_params=_quantization_params(message.quantization_params),
        optimizers={field.name: value for field, value in message.optimizers.ListFields()},
        **hnsw,
    )


def _payload_index(message: collection_pb2.PayloadIndex) -> PayloadIndex:
    if message.is_tenant:
        return "tenant"
    if not message.HasField("text"):
        return _INDEX_NAMES[message.type]
    text = message.text
    return _copied(
        TextIndex,
        text,
        tokenizer=_TOKENIZER_NAMES.get(text.tokenizer, "word"),
        stopword_languages=tuple(text.stopwords.languages),
        stopwords=tuple(text.stopwords.custom),
    )


def described(
    response: collection_pb2.CreateCollectionResponse
    | collection_pb2.UpdateCollectionResponse
    | collection_pb2.GetCollectionResponse,
) -> Collection:
    """The collection as it is now."""
    return collection(response.collection)


def all_collections(response: collection_pb2.ListCollectionsResponse) -> list[Collection]:
    """Every collection, by name."""
    return [collection(message) for message in response.collections]


def previous_collection(response: collection_pb2.UpdateAliasResponse) -> str:
    """Where the alias pointed before; "" = nowhere."""
    return response.previous_collection


def settles_after(response: collection_pb2.SetSuccessorResponse) -> float:
    """Seconds until other replicas of the service are sure to know the link."""
    return response.settles_after_s


def deleted(response: search_pb2.DeletePointsResponse) -> int:
    """Points that existed and are gone."""
    return response.deleted


def updated(response: search_pb2.UpdatePayloadResponse | search_pb2.DeleteVectorsResponse) -> int:
    """Points that were changed."""
    return response.updated


def count(response: search_pb2.CountPointsResponse) -> int:
    """Points that match."""
    return response.count


def facets(response: search_pb2.FacetResponse) -> list[FacetHit]:
    """The values, the most frequent first."""
    return [FacetHit(_value(hit.value), hit.count) for hit in response.hits]


def nothing(_: Any) -> None:
    """An answer that says no more than that it was done."""


def model(response: encoder_pb2.GetModelResponse) -> Model:
    """The encoder's model."""
    return _copied(Model, response)


def vectors(
    response: encoder_pb2.EncodeTextResponse | encoder_pb2.EncodeImageResponse, first: int
) -> list[Vector]:
    """The vectors, each float32 [dimension].

    Raises ClipSearchError for the first input that could not be encoded; it is called
    `texts[n]` or `images[n]`, counted from `first` on.
    """
    inputs = "texts" if isinstance(response, encoder_pb2.EncodeTextResponse) else "images"
    for i, embedding in enumerate(response.embeddings):
        if embedding.HasField("error"):
            raise from_status(embedding.error).about(f"{inputs}[{first + i}]")
    return [array(embedding.vector) for embedding in response.embeddings]


def classifications(response: encoder_pb2.ClassifyResponse, first: int) -> list[Classification]:
    """The labels of each image, best first."""
    return [
        Classification(
            scores=tuple(LabelScore(score.label, score.probability, score.cosine) for score in item.scores),
            error=_item_error(item.error),
        )
        for item in response.classifications
    ]


def _copied(kind: type[Value], message: Message, **others: Any) -> Value:
    """A value whose fields are those of the message that have the same names, but for `others`."""
    same = [field.name for field in fields(kind) if field.name not in others]
    return kind(**{name: getattr(message, name) for name in same}, **others)


def _hit(hit: search_pb2.Hit) -> Hit:
    return Hit(
        id=hit.id,
        score=hit.score,
        matched=_MATCHED.get(hit.matched, "image"),
        cosine=hit.cosine,
        payload=payload(hit.payload),
        image_rank=hit.image_rank or None,
        text_rank=hit.text_rank or None,
        image_vector=array(hit.image_vector) if hit.HasField("image_vector") else None,
        text_vector=array(hit.text_vector) if hit.HasField("text_vector") else None,
        weak=hit.weak,
        boost=hit.boost,
        words_rank=hit.words_rank or None,
        words_score=hit.words_score,
    )


def _stored_point(point: search_pb2.StoredPoint) -> StoredPoint:
    return StoredPoint(
        id=point.id,
        payload=payload(point.payload),
        has_image=point.has_image,
        has_text=point.has_text,
        image_vector=array(point.image_vector) if point.HasField("image_vector") else None,
        text_vector=array(point.text_vector) if point.HasField("text_vector") else None,
    )


def _value(message: search_pb2.FieldValue) -> str | int | bool:
    kind = message.WhichOneof("value")
    value: str | int | bool = getattr(message, kind) if kind else ""
    return value


def _item_error(status: status_pb2.Status) -> ClipSearchError | None:
    return None if status.code == code_pb2.OK else from_status(status)


def _quantization_params(message: collection_pb2.QuantizationParams) -> dict[str, Any]:
    words: dict[str, Mapping[Any, str]] = {
        "encoding": _ENCODING_NAMES,
        "query_encoding": _QUERY_ENCODING_NAMES,
    }
    params = {
        field.name: words[field.name].get(value) if field.name in words else value
        for field, value in message.ListFields()
    }
    return {name: value for name, value in params.items() if value}
