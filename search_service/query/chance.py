"""What is better than chance: the least cosine of what counts in a search for matches alone.

That is where the calibrated score is 0: what unrelated queries find at best, measured from the
collection's own vectors. Of a collection that has images alone it is not known what words find there, so
plain words are encoded and ask for its images. Some of them may well be shown; as with copies, what
stands out of a query's tail does not count (calibration.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clipsearch.serving.errors import FailedPrecondition
from search_service.encoder.client import Encoded
from search_service.encoder.encoders import Encoders
from search_service.query.calibration import Calibration, Weighted, measured
from search_service.query.calibration_cache import CalibrationCache
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import VectorName, VectorSample

# Things of all kinds, a word or two each.
_THINGS = """
    an accordion, an airport, an anchor, an apple, a banana, a bathtub, a beach, a bee, a bicycle, a book,
    a boot, a bottle, a bowl of soup, a bridge, a broom, a bus, a butterfly, a cactus, a cake, a candle,
    a car, a carpet, a castle, a cat, a chair, a chicken, a child, a church, a city at night, a clock,
    a cloud, a coat, a computer, a cow, a crowd of people, a crown, a curtain, a desert, a dog, a dolphin,
    a door, a dress, a drum, a duck, an elephant, an envelope, a factory, a farm, a fence, a fire, a fish,
    a flag, a football match, a forest, a fork, a fountain, a frog, a garden, a giraffe, glasses, a glove,
    a guitar, a hammer, a hat, a helicopter, a horse, a hospital, a house, an insect, an island, a key,
    a kitchen, a kite, a knife, a ladder, a lake, a lamp, a lemon, a library, a lion, a lizard, a map,
    a market, a mask, a mirror, a mountain, a mushroom, a necklace, a newspaper, an office, an onion,
    a painting, a pair of scissors, a penguin, a piano, a pig, a pizza, a plate, a portrait of a woman,
    rain, a refrigerator, a ring, a river, a road, a robot, a rope, a rose, a sandwich, a school,
    a sculpture, a ship, a shoe, a skeleton, snow, a sofa, a spider, a staircase, a street, a suitcase,
    a table, a telephone, a tent, a tower, a train, a tree, an umbrella, a violin, a wedding
"""
WORDS = tuple(words.strip() for words in _THINGS.split(","))


class Chance:
    """Tells the least cosines. What words find among the images of a collection is kept in memory."""

    def __init__(self, calibrations: CalibrationCache, encoders: Encoders) -> None:
        self._calibrations = calibrations
        self._encoders = encoders
        self._words: dict[str, tuple[Calibration, Calibration]] = {}

    async def least(
        self,
        spec: CollectionSpec,
        calibration: Calibration,
        terms: Sequence[Weighted],
        names: Sequence[VectorName],
    ) -> dict[VectorName, float]:
        """For each of the vector names, the cosine of the terms' sum from which on it is no chance.

        Raises FailedPrecondition where that cannot be measured, and what the encoder and the store raise.
        """
        kinds = {calibration.kind(term) for term in terms}
        if "image" in kinds and "text" in names and not calibration.counts["image"]:
            raise FailedPrecondition(
                f"only_matches: collection {spec.name!r} has no images, so that it is not known what images "
                "find among its texts by chance",
                "CHANCE_UNKNOWN",
                {"field": "only_matches", "collection": spec.name},
            )
        if "text" in kinds and "image" in names and not calibration.counts["text"]:
            calibration = await self._with_words(spec, calibration)
        return {name: calibration.scale(terms, name).best for name in names}

    async def _with_words(self, spec: CollectionSpec, calibration: Calibration) -> Calibration:
        """With the figures of words among images, which are measured anew whenever the others were."""
        before, known = self._words.get(spec.name, (None, calibration))
        if before is calibration:
            return known
        images = await self._calibrations.sample(spec.name, "image")
        encoding = await self._encoders.encode_for(spec, WORDS, ())
        vectors = [one.vector for one in encoding.texts if isinstance(one, Encoded)]
        words = VectorSample(("",) * len(vectors), np.stack(vectors))  # of no point
        if figures := measured(words, images, calibration.counts["image"]):
            known = replace(calibration, figures={**calibration.figures, ("text", "image"): figures})
            self._words[spec.name] = calibration, known
        return known
