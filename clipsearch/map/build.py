"""Makes the map of a collection: sample, then layout, groups and numbers of each space, then questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.map.clusters import NONE, Cluster, Words, find_clusters, name_clusters
from clipsearch.map.measures import FieldNumbers, SpaceNumbers, measure, measure_field
from clipsearch.map.projection import Positions, centred, project
from clipsearch.map.queries import Placed, Question, moved, neighbours, place
from clipsearch.map.sample import IMAGE, TEXT, Sample

RAW, CENTRED = "raw", "centred"
_MOST_GROUPS = 30  # a colour each; more cannot be told apart
_NEIGHBOURS_UP_TO = 20_000  # their table would double the page beyond


@dataclass(frozen=True, slots=True)
class View:
    """One space: as the model made it (RAW), or each modality around its own middle (CENTRED)."""

    name: str
    positions: Positions
    numbers: SpaceNumbers
    questions: tuple[Placed, ...]
    neighbours: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True)
class SpaceMap:
    """All that the page, the image and the JSON show.

    `fields` maps each payload field to the group of each vector; `labels` are clusters [n].
    """

    sample: Sample
    views: tuple[View, ...]
    fields: dict[str, list[str | None]]
    labels: NDArray[np.int32]
    clusters: tuple[Cluster, ...]
    cluster_numbers: FieldNumbers
    seed: int


def telling_fields(sample: Sample) -> list[str]:
    """Fields to colour by: those with a keyword or boolean index and 2 to 30 values in the sample."""
    most = min(_MOST_GROUPS, len(sample.items) - 1)
    return [
        field
        for field, kind in sample.collection.payload_indexes.items()
        if kind in ("keyword", "tenant", "bool") and 2 <= len({*sample.values(field)} - {None}) <= most
    ]


def build_map(
    sample: Sample,
    *,
    fields: Sequence[str],
    questions: Sequence[Question] = (),
    words: Words | None = None,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda step: None,
) -> SpaceMap:
    """The map. `on_step` hears of each step before it begins."""
    both = {IMAGE, TEXT} <= set(sample.side.tolist())
    views = []
    vectors = sample.vectors
    for name in (RAW, CENTRED) if both else (RAW,):
        if name == CENTRED:
            vectors = centred(sample.vectors, sample.side)
        on_step(f"laying out the {name} space")
        positions = project(vectors, seed)
        on_step(f"measuring the {name} space")
        views.append(
            View(
                name,
                positions,
                measure(sample, vectors, fields, seed),
                tuple(
                    place(q.title, q.vector if name == RAW else moved(q, sample), vectors, positions)
                    for q in questions
                ),
                neighbours(vectors) if len(vectors) <= _NEIGHBOURS_UP_TO else None,
            )
        )
    on_step("finding clusters")
    labels = find_clusters(views[-1].positions)
    clusters = name_clusters(sample, sample.vectors, labels, words)
    names = [None if label == NONE else str(label) for label in labels]
    return SpaceMap(
        sample,
        tuple(views),
        {field: _few(sample.values(field)) for field in fields},
        labels,
        tuple(clusters),
        measure_field(sample, vectors, names, seed),
        seed,
    )


def _few(values: list[str | None]) -> list[str | None]:
    """The most frequent values; the others become one group."""
    counts = Counter(value for value in values if value is not None)
    if len(counts) <= _MOST_GROUPS:
        return values
    kept = {value for value, _ in counts.most_common(_MOST_GROUPS - 1)}
    return [value if value is None or value in kept else "(others)" for value in values]
