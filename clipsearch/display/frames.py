"""Results as flat rows, and as pandas data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from clipsearch.client.types import Hit, Page, SearchResult, StoredPoint

HIT_COLUMNS = ("rank", "id", "score", "cosine", "matched")
POINT_COLUMNS = ("id", "has_image", "has_text")


def hit_rows(result: SearchResult) -> list[dict[str, Any]]:
    """A row a hit, best first; see `SearchResult.to_dicts`."""
    return [
        _row(
            {
                "rank": rank,
                "id": hit.id,
                "score": hit.score,
                "cosine": hit.cosine,
                "matched": hit.matched,
            },
            hit,
        )
        for rank, hit in enumerate(result.hits, start=1)
    ]


def point_rows(page: Page) -> list[dict[str, Any]]:
    """A row a point, in the page's order; see `Page.to_dicts`."""
    return [
        _row({"id": point.id, "has_image": point.has_image, "has_text": point.has_text}, point)
        for point in page.points
    ]


def data_frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a data frame, with `columns` also if there are none. Raises ImportError without pandas."""
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise ImportError("to_pandas needs pandas: pip install 'clipsearch[notebook]'") from error
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns))


def _row(fixed: dict[str, Any], source: Hit | StoredPoint) -> dict[str, Any]:
    vectors = {"image_vector": source.image_vector, "text_vector": source.text_vector}
    row = fixed | {name: vector for name, vector in vectors.items() if vector is not None}
    return row | _payload(source.payload, {*fixed, *vectors})


def _payload(payload: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    """In the order of the names: that of a payload means nothing, and differs from answer to answer."""
    return {f"payload.{key}" if key in taken else key: payload[key] for key in sorted(payload)}
