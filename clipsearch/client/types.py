"""What callers get back: plain values, numpy arrays and dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.errors import ClipSearchError
from clipsearch.client.inputs import (
    CollectionOptions,
    Fusion,
    PayloadIndex,
    Point,
    Quantization,
)
from clipsearch.display import notebook
from clipsearch.display.text import counted

if TYPE_CHECKING:
    import pandas as pd

Vector = NDArray[np.float32]
VectorName = Literal["image", "text"]

CONTENT_HASH = "content_hash"
"""The payload key by which bulk loading tells whether a row with an id of its own has changed."""
SPOILT = ""
"""The `content_hash` of a row whose vectors alone were changed: no row has it."""
INDEXED_FROM = "indexed_from"
"""The payload key of the lists that have a row, by absolute path."""
BOOKKEEPING = frozenset({CONTENT_HASH, INDEXED_FROM})
"""Payload keys that say nothing to people: tables leave them out."""

# Columns of data frames.
_OF_HITS = ("id", "score", "cosine", "matched")
_OF_POINTS = ("id", "has_image", "has_text")


@dataclass(frozen=True, slots=True)
class Hit:
    """One point found. `score` is a cosine where `SearchResult.fusion` is None.

    Where it is "calibrated" (images and texts were both searched), the score says how many spreads the hit
    is above the best that unrelated queries find: 0 is chance, 3 far above it. `cosine` is always the
    cosine to the matched vector. Ranks count from 1 and are None where the hit was not among those looked
    at or nothing was fused. Vectors are float32 [dimension]. `weak`: probably chance; a calibrated score
    below 0, or an image that a text matched with a cosine below `SearchResult.weak_match_below`. `boost`:
    what of the score boosts have added.

    Where words were looked up, `words_rank` and `words_score` (BM25) are theirs; `matched` is "words" where
    the hit owes them more than its vectors, and `cosine` is 0 where they alone found it. `score` is BM25 with
    target "words", and where `SearchResult.fusion` is "hybrid" it is made of ranks.
    """

    id: str
    score: float
    matched: VectorName | Literal["words"]
    cosine: float
    payload: Mapping[str, Any]
    image_rank: int | None = None
    text_rank: int | None = None
    image_vector: Vector | None = None
    text_vector: Vector | None = None
    weak: bool = False
    boost: float = 0.0
    words_rank: int | None = None
    words_score: float = 0.0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of one search, best first; iterate over it, index it, take its length.

    `tokens_dropped` says which terms of the query were cut, and by how many tokens.
    `weak_match_below`: of a query of text alone, the cosine to images below which the model's
    matches are weak; 0 = not known. `fusion`: whose scores they are where `fused` is true, else None.
    A notebook shows the result as a table.
    """

    hits: tuple[Hit, ...]
    fused: bool
    fingerprint: str
    encode_ms: float
    store_ms: float
    tokens_dropped: Mapping[int, int] = field(default_factory=dict)
    weak_match_below: float = 0.0
    fusion: Fusion | None = None

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, position: int) -> Hit:
        return self.hits[position]

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row a hit: rank, id, score, cosine, matched, vectors if asked for, and the payload's fields.

        A field that has the name of one of these is called `payload.NAME`.
        """
        return [_row(hit, _OF_HITS, rank=rank) for rank, hit in enumerate(self.hits, start=1)]

    def to_pandas(self) -> pd.DataFrame:
        """`to_dicts` as a data frame. Raises ImportError where pandas is not installed."""
        return _data_frame(self.to_dicts(), ("rank", *_OF_HITS))

    def to_html(
        self,
        *,
        fields: Sequence[str] | None = None,
        thumbnails: int = notebook.THUMBNAILS,
    ) -> str:
        """A table: rank, thumbnail, score, matched vector, id, and the payload's `fields` (None = a few).

        At most `thumbnails` images are shown, of local files that the payload's `path` names.
        """
        scale = max((hit.score for hit in self.hits), default=1.0) if self.fused else 1.0
        rows: list[notebook.Row] = []
        for rank, hit in enumerate(self.hits, start=1):
            score = notebook.Score(hit.score, hit.score / scale if scale > 0 else 0.0, hit.weak)
            rows.append(((str(rank), None, score, hit.matched, hit.id), hit.payload))
        heads = ("#", None, "score", "matched", "id")
        return notebook.table(self._about(), heads, rows, fields, thumbnails, BOOKKEEPING)

    def _about(self) -> list[str]:
        scores = ", scores in spreads above the best that unrelated queries find"
        return [
            f"{counted(len(self), 'hit')}{scores if self.fusion == 'calibrated' else ''}; "
            f"encoder {self.encode_ms:.1f} ms, store {self.store_ms:.1f} ms",
            *(
                f"term {term + 1} was too long for the model; {counted(dropped, 'token')} cut off"
                for term, dropped in self.tokens_dropped.items()
            ),
        ]

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True, slots=True)
class Group:
    """The best hits of one value of the field that a search was grouped by, best first."""

    value: str | int
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class GroupedResult:
    """The groups of one search, in the order of their best hits; iterate over it, index it, take its length.

    `search` is the search's answer without hits: whose scores they are, times, texts that were cut.
    """

    groups: tuple[Group, ...]
    search: SearchResult

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, position: int) -> Group:
        return self.groups[position]


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """What became of one point: `error` is None if it was written, otherwise nothing of it was.

    `skipped`: it was there and `insert_only` left it so. `successor_error`: why the collection's
    successor cannot have the point, if it has a successor; the collection itself has it.
    """

    id: str
    error: ClipSearchError | None
    tokens_dropped: int
    skipped: bool = False
    successor_error: ClipSearchError | None = None


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it is stored. Vectors are float32 [dimension], and None unless asked for."""

    id: str
    payload: Mapping[str, Any]
    has_image: bool
    has_text: bool
    image_vector: Vector | None = None
    text_vector: Vector | None = None

    def to_point(self, payload: Mapping[str, Any] | None = None) -> Point:
        """The point to write back, with another payload if one is given. Its vectors are not made anew.

        It replaces what others have written to the point since it was read. Raises ValueError if it
        was read without its vectors.
        """
        if (self.has_image and self.image_vector is None) or (self.has_text and self.text_vector is None):
            raise ValueError(
                f"point {self.id!r} was read without its vectors; read it with with_vectors=True"
            )
        return Point(
            self.id,
            image_vector=self.image_vector,
            text_vector=self.text_vector,
            payload=self.payload if payload is None else payload,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some points of a collection; `next_token` asks for those that follow, "" = no more.

    A notebook shows it as a table.
    """

    points: tuple[StoredPoint, ...]
    next_token: str

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row a point: id, has_image, has_text, vectors if asked for, and the payload's fields.

        A field that has the name of one of these is called `payload.NAME`.
        """
        return [_row(point, _OF_POINTS) for point in self.points]

    def to_pandas(self) -> pd.DataFrame:
        """`to_dicts` as a data frame. Raises ImportError where pandas is not installed."""
        return _data_frame(self.to_dicts(), _OF_POINTS)

    def to_html(self, *, fields: Sequence[str] | None = None, thumbnails: int = notebook.THUMBNAILS) -> str:
        """A table: thumbnail, id, vectors, and the payload's fields, as `SearchResult.to_html` has them."""
        rows: list[notebook.Row] = []
        for point in self.points:
            vectors = [name for name in ("image", "text") if getattr(point, f"has_{name}")]
            rows.append(((None, point.id, ", ".join(vectors)), point.payload))
        about = f"{counted(len(self.points), 'point')}{', more follow' if self.next_token else ''}"
        return notebook.table([about], (None, "id", "vectors"), rows, fields, thumbnails, BOOKKEEPING)

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True, slots=True)
class FacetHit:
    """A value of a payload field, and how many points have it."""

    value: str | int | bool
    count: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as it stands. 0 in `hnsw_*` = the engine's default; a Qdrant server tells what that is.

    `quantization_params` holds what was set of always_ram, quantile, encoding, query_encoding,
    compression and bits. `disk_bytes` is 0 where the store does not tell.
    `successor`: the collection that gets every write too; "" = none. `damage`: which of its files cannot be
    used, and why; "" = all can. Of a damaged collection only name and aliases are known.
    `optimizers`: when and how a Qdrant server rearranges its segments; empty for Qdrant Edge.
    `default_candidates`: how many points a search of compressed vectors rescores if it does not say; 0 = they
    are not compressed. `bm25_field`: the payload field whose words can be looked up; "" = none.
    """

    name: str
    fingerprint: str
    model: str
    dimension: int
    points: int
    image_vectors: int
    text_vectors: int
    indexed_share: float
    disk_bytes: int
    aliases: tuple[str, ...]
    payload_indexes: Mapping[str, PayloadIndex]
    hnsw_m: int
    hnsw_ef_construct: int
    hnsw_full_scan_threshold_kb: int
    hnsw_on_disk: bool
    quantization: Quantization
    quantization_params: Mapping[str, Any]
    on_disk_vectors: bool
    on_disk_payload: bool
    shard_number: int
    replication_factor: int
    write_consistency_factor: int
    successor: str = ""
    damage: str = ""
    default_candidates: int = 0
    optimizers: Mapping[str, float] = field(default_factory=dict)
    bm25_field: str = ""

    def options(self) -> CollectionOptions:
        """The arguments of `create_collection` that make a collection like this one, of the same model."""
        names = CollectionOptions.__annotations__.keys()
        copied = {name: getattr(self, name) for name in names if hasattr(self, name)}
        copied |= {f"quantization_{name}": value for name, value in self.quantization_params.items()}
        return cast(CollectionOptions, copied)


@dataclass(frozen=True, slots=True)
class Model:
    """The encoder's model.

    `weak_match_below`: cosines of text against image below it are weak matches; 0 = not known.
    """

    name: str
    fingerprint: str
    dimension: int
    image_size: int
    context_length: int
    precision: str
    text_precision: str
    provider: str
    pretrained: bool
    logit_scale: float
    logit_bias: float
    weak_match_below: float
    license: str


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label of a classification: probability 0 to 1, cosine -1 to 1."""

    label: str
    probability: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of one image, best first; none, and `error`, if it could not be read."""

    scores: tuple[LabelScore, ...]
    error: ClipSearchError | None = None


def _data_frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a data frame, with `columns` also if there are none. Raises ImportError without pandas."""
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ImportError("to_pandas needs pandas: pip install 'clipsearch[notebook]'") from error
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns))


def _row(source: Hit | StoredPoint, columns: Sequence[str], **first: Any) -> dict[str, Any]:
    fixed = first | {name: getattr(source, name) for name in columns}
    vectors = {"image_vector": source.image_vector, "text_vector": source.text_vector}
    taken = {*fixed, *vectors}
    # In the order of the names: that of a payload means nothing, and differs from answer to answer.
    payload = {
        f"payload.{key}" if key in taken else key: source.payload[key] for key in sorted(source.payload)
    }
    return fixed | {name: vector for name, vector in vectors.items() if vector is not None} | payload
