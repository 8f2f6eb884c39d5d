"""What callers hand in: images, points, query terms and options; looked at before it is sent.

A text is no list of its letters: what looks at values raises TypeError for one of another type than is taken,
and ValueError for one of that type that cannot be sent. Messages begin with the argument at fault.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, ParamSpec, SupportsIndex, TypeAlias, TypedDict, TypeVar

from numpy.typing import NDArray
from PIL import Image, ImageFile

from clipsearch.channel.connection import MAX_MESSAGE_BYTES
from clipsearch.client.errors import ArgumentError, ArgumentTypeError
from clipsearch.display.text import cut
from clipsearch.files import open_regular
from clipsearch.filters.convert import FilterLike

ImageLike = bytes | bytearray | memoryview | str | os.PathLike[str] | Image.Image
"""An image: the bytes of an image file, the path of one, or a Pillow image of any mode but I and F."""

VectorLike = NDArray[Any] | Sequence[float]

Item = TypeVar("Item")
P = ParamSpec("P")
_LARGEST_FILE = MAX_MESSAGE_BYTES - 64 * 1024  # room for the payload and the rest of the request
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|data:[^,]*,", re.IGNORECASE)
_LONGEST_SAID = 80
# What becomes of a Pillow image's mode in a PNG; of those that are not here, RGB.
_AS_PNG = {mode: mode for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")} | {
    "La": "LA",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "I;16B": "I;16",
    "I;16L": "I;16",
    "I;16N": "I;16",
}
_ONE = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, Mapping)

Target = Literal["any", "image", "text", "words"]
Fusion = Literal["calibrated", "rrf", "dbsf", "hybrid"]
Kind = Literal["image", "text"]
Strategy = Literal["average_vector", "best_score", "sum_scores"]
IndexType = Literal["keyword", "tenant", "integer", "float", "bool", "datetime", "text", "geo"]
Tokenizer = Literal["word", "whitespace", "prefix"]
Quantization = Literal["none", "scalar", "binary", "product", "turbo"]
BinaryEncoding = Literal["one_bit", "one_and_half_bits", "two_bits"]
BinaryQueryEncoding = Literal["default", "binary", "scalar4bits", "scalar8bits"]


@dataclass(frozen=True, slots=True)
class TextIndex:
    """A payload index of type text with options. What is searched for becomes words in the same way.

    `prefix` finds words by their beginnings, `phrase_matching` lets phrases be found. Words shorter or longer
    than the lengths (0 = none) are left out, and so are `stopwords` and those of `stopword_languages`
    (`"english"`). `stemmer` is a language whose endings are cut off.
    """

    tokenizer: Tokenizer = "word"
    lowercase: bool = True
    min_token_len: int = 0
    max_token_len: int = 0
    stemmer: str = ""
    stopword_languages: Sequence[str] = ()
    stopwords: Sequence[str] = ()
    phrase_matching: bool = False


PayloadIndex: TypeAlias = IndexType | TextIndex
"""A type of payload index, or one of type text with options."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a query: exactly one of text, image, vector and point_id. A negative weight pushes away.

    `kind`: what a `vector` was made of; None = what the stored vectors around it were made of.
    `vector_name`: which vector of `point_id` is meant; None = the image's if there is one, else the text's.
    """

    text: str | None = None
    image: ImageLike | None = None
    vector: VectorLike | None = None
    point_id: str | None = None
    weight: float = 1.0
    kind: Kind | None = None
    vector_name: Kind | None = None


@dataclass(frozen=True, slots=True)
class Newer:
    """Raises scores by nearness in time: by `weight` at `target` (None = now), by half of it `scale_s`
    seconds before or after, by a quarter after twice that. `key`: a field of dates or times.
    """

    key: str
    scale_s: float
    target: datetime | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Nearer:
    """Raises scores by nearness to a place: by `weight` there, by half of it `scale_m` metres away, by a
    quarter twice as far away. `key`: a field of objects with `lat` and `lon`.
    """

    key: str
    lat: float
    lon: float
    scale_m: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Popular:
    """Raises scores by a number: by `weight` x number / (number + `scale`). `key`: a field of numbers."""

    key: str
    scale: float
    weight: float = 1.0


Boost = Newer | Nearer | Popular


@dataclass(frozen=True, slots=True)
class Point:
    """A point to write: an image, a text or both, or their ready vectors.

    `payload` is JSON: None, booleans, numbers, strings, and lists and dicts of them. What means one of
    those is taken for it: NumPy's numbers and arrays, datetime (UTC unless it says otherwise) and date as
    ISO 8601 strings, Decimal, Enum by its value, UUID, Path, tuples and sets. Numbers travel as float64, so
    an integer beyond 2**53 is refused, and so are NaN and infinity.
    """

    id: str
    image: ImageLike | None = None
    text: str | None = None
    image_vector: VectorLike | None = None
    text_vector: VectorLike | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


class SearchOptions(TypedDict, total=False):
    """The options of a search beside its text; all optional.

    What to look for (with the text, each counts once; for other weights give `query`):
    `image`, `vector`, `point_id` (more like this stored point), or `query`, a list of `Term`.

    How: `target` ("any", "image" or "text": which vectors to compare with; "words": look the text's words up
    instead), `hybrid` (True: look them up too; a number: their weight, that of the vectors being 1),
    `filter`, `limit` (10), `offset`, `score_threshold`, `exact`, `hnsw_ef`, `rescore`, `oversampling`,
    `fusion` (how "any" joins its two rankings: "calibrated", "rrf" or "dbsf"), `only_matches` (leave out what
    is no better than chance, all if need be), `fingerprint` (of the space of ready vectors),
    `strategy` ("average_vector": the terms become one vector; "best_score", "sum_scores": they are examples,
    those of weight -1 counterexamples), `context` (pairs of terms: points should be nearer to the first),
    `diversity` (0 to 1: hits that differ from one another, of one target, chosen from the nearest
    `diversity_candidates`, 0 = 100), `boosts` (a list of `Newer`, `Nearer` and `Popular`, which raise the
    scores of the best `boost_candidates` hits, 0 = 100, or offset + limit if more).

    What comes back: `payload` (True, False, or a list of fields), `with_vectors`.
    """

    image: ImageLike
    vector: VectorLike
    point_id: str
    query: Sequence[Term]
    target: Target
    hybrid: bool | float
    filter: FilterLike | None
    limit: int
    offset: int
    score_threshold: float | None
    exact: bool
    hnsw_ef: int
    rescore: bool
    oversampling: float
    fusion: Fusion
    diversity: float | None
    diversity_candidates: int
    boosts: Sequence[Boost]
    boost_candidates: int
    strategy: Strategy
    context: Sequence[tuple[Term, Term]]
    only_matches: bool
    fingerprint: str
    payload: bool | Sequence[str]
    with_vectors: bool


class Search(SearchOptions, total=False):
    """One search of a batch: the options and the text."""

    text: str


class CollectionOptions(TypedDict, total=False):
    """The settings of a new collection; all optional, 0 = the engine's default.

    `payload_indexes` maps fields to types (or a `TextIndex`); filters on them are fast. "tenant" is for
    keywords of which each tells a tenant: the points of one are stored close together. Of the quantisation's
    settings `quantile` is for scalar, the encodings are for binary, `compression` (4, 8, 16, 32 or 64 times)
    for product and `bits` (1, 1.5, 2, 4 or 8) for turbo. More than one shard or replica needs a
    Qdrant server. `bm25_field` names the payload field whose words can be looked up. `model` is the name or
    fingerprint of one of the models that the service's encoders run ("" = the first encoder's). `dimension`
    and `fingerprint` are given together, for ready vectors without an encoder; `model` is what their model is
    called then.
    """

    payload_indexes: Mapping[str, PayloadIndex]
    hnsw_m: int
    hnsw_ef_construct: int
    hnsw_full_scan_threshold_kb: int
    hnsw_on_disk: bool
    quantization: Quantization
    quantization_always_ram: bool
    quantization_quantile: float
    quantization_encoding: BinaryEncoding | None
    quantization_query_encoding: BinaryQueryEncoding | None
    quantization_compression: int
    quantization_bits: float
    on_disk_vectors: bool
    on_disk_payload: bool
    shard_number: int
    replication_factor: int
    write_consistency_factor: int
    bm25_field: str
    dimension: int
    fingerprint: str
    model: str


def image_bytes(image: ImageLike, argument: str) -> bytes:
    """The bytes of an image file. Reads a path from disk (OSError); a Pillow image becomes a PNG.

    Raises TypeError for anything else, and ValueError for a file that is too large, naming `argument`.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        try:
            return _png(image)
        except (OSError, ValueError) as error:
            raise ArgumentError(f"{argument}: the Pillow image of mode {image.mode}: {error}") from None
    if isinstance(image, str) and (wrong := no_file(image)):
        raise ArgumentError(f"{argument}: {wrong}")
    if not isinstance(image, str | os.PathLike):
        raise ArgumentTypeError(
            f"{argument}: must be the bytes of an image file, a path or a Pillow image, "
            f"is of type {type(image).__name__}"
        )
    try:
        with open_regular(Path(image)) as file:
            content = file.read(_LARGEST_FILE + 1)
    except ValueError as error:
        raise ArgumentError(f"{argument}: {str(image)!r} cannot be a path ({error})") from None
    if len(content) > _LARGEST_FILE:
        raise ArgumentError(f"{argument}: a file of more than {_LARGEST_FILE:,} bytes, which cannot be sent")
    return content


def _png(image: Image.Image) -> bytes:
    """A Pillow image as a PNG. Raises OSError and ValueError.

    One that is as it was opened keeps its EXIF, so that it is turned as its file would be; one that was made
    of another is taken as it stands.
    """
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels do not say what is white")
    mode = _AS_PNG.get(image.mode, "RGB")
    pixels = image
    if image.mode != mode:
        # From one order of 16 bits to another Pillow goes by way of 8, and what is above is white.
        pixels = (image.convert("I") if mode == "I;16" else image).convert(mode)
    exif = image.info.get("exif") if isinstance(image, ImageFile.ImageFile) else None
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", compress_level=1, exif=exif)
    return buffer.getvalue()


def no_file(path: str) -> str:
    """What to say of a path that is an address, as those of the web are; "" for others."""
    if not _ADDRESS.match(path):
        return ""
    return f"{cut(path, _LONGEST_SAID)} is an address; images are read from files"


def listed(given: Any, argument: str, of: str, *, ordered: bool = True) -> Iterable[Any]:
    """`given`, if it is a list of something or another iterable. `of` says in words what it should hold."""
    if isinstance(given, _ONE) or not isinstance(given, Iterable):
        raise ArgumentTypeError(f"{argument}: must be a list of {of}, is {_said(given)}{_instead(given)}")
    if ordered and isinstance(given, set | frozenset):
        raise ArgumentTypeError(f"{argument}: must be a list of {of}; a set has no order")
    return given


def strings(given: Any, argument: str, of: str, *, ordered: bool = True) -> list[str]:
    """A list of strings. Looks at each of them."""
    items = enumerate(listed(given, argument, of, ordered=ordered))
    return [string(item, f"{argument}[{i}]") for i, item in items]


def ids(given: Any) -> list[str]:
    """Ids of points."""
    return [point_id(item, f"ids[{i}]") for i, item in enumerate(listed(given, "ids", "ids", ordered=False))]


def string(given: Any, argument: str) -> str:
    """A string that can be sent."""
    if not isinstance(given, str):
        raise ArgumentTypeError(f"{argument}: must be a string, is {_said(given)}")
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise ArgumentError(f"{argument}: {given[:40]!r} is no text: {error.reason}") from None
    return given


def whole(given: Any, argument: str, least: int = 0) -> None:
    """Looks at a number: it must be whole and at least `least`."""
    if not isinstance(given, SupportsIndex) or isinstance(given, bool):
        raise ArgumentTypeError(f"{argument}: must be a whole number, is {given!r}")
    if int(given) < least:
        bound = f"be at least {least}" if least else "not be negative"
        raise ArgumentError(f"{argument}: must {bound}, is {given}")


def message(
    kind: Callable[P, Item], called: Callable[[str], str] = str, /, *args: P.args, **fields: P.kwargs
) -> Item:
    """A message of these fields; `called` tells the argument that a field is of.

    protobuf raises TypeError and ValueError without saying which field cannot hold its value; this says it.
    """
    try:
        return kind(*args, **fields)
    except (TypeError, ValueError):
        part: Callable[..., Item] = kind  # with one field at a time
        for name, value in fields.items():
            try:
                part(**{name: value})
            except (TypeError, ValueError) as error:
                raise unfit(error, f"{called(name)}: {error}, is {_said(value)}") from None
        raise


def unfit(error: Exception, said: str) -> ArgumentError:
    """What a library's TypeError or ValueError about an argument is to the caller."""
    return (ArgumentTypeError if isinstance(error, TypeError) else ArgumentError)(said)


def point_id(given: Any, argument: str) -> str:
    """The id of a point."""
    if not isinstance(given, str):
        raise ArgumentTypeError(
            f"{argument}: ids are strings, this is {_said(given)}"
            + ("" if given is None else f"; write {str(given)!r} if that is meant")
        )
    if not given:
        raise ArgumentError(f"{argument}: empty; a point needs an id")
    return string(given, argument)


def each(given: Any, kind: type[Item], argument: str, of: str) -> list[Item]:
    """A list of things of one class."""
    if isinstance(given, kind):
        raise ArgumentTypeError(
            f"{argument}: must be a list of {of}, is one {kind.__name__}; write [{kind.__name__}(...)]"
        )
    found = list(listed(given, argument, of))
    for i, item in enumerate(found):
        if not isinstance(item, kind):
            raise ArgumentTypeError(f"{argument}[{i}]: must be a {kind.__name__}, is {_said(item)}")
    return found


def _said(given: Any) -> str:
    if given is None:
        return "None"
    shown = repr(given) if isinstance(given, str | int | float | os.PathLike) else ""
    named = f"of type {type(given).__name__}"
    return f"{shown[:60]} ({named})" if shown else named


def _instead(given: Any) -> str:
    if isinstance(given, str):
        return f"; one is written [{given[:40]!r}]"
    return "; one is written [...]" if isinstance(given, _ONE) and not isinstance(given, Mapping) else ""
