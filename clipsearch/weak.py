"""Which hits are weak matches: pictures that words met with a cosine that chance would give too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipsearch.results import Hit, Model, SearchResult


def weak_bound(model: Model | None, result: SearchResult) -> float:
    """The cosine of text against picture below which the model's matches are weak; 0 = not known.

    Nothing is known of a collection that another model has filled.
    """
    known = model is not None and model.fingerprint == result.fingerprint
    return model.weak_match_below if model is not None and known else 0.0


def is_weak(hit: Hit, bound: float) -> bool:
    """True for a picture that words matched less than the model's bound."""
    return hit.matched == "image" and hit.cosine < bound
