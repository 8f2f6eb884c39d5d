"""How a model wants its pixels scaled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`(pixel * rescale - mean) / std` per channel, pixels 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float = 1 / 255

    def scale_and_shift(self) -> tuple[list[float], list[float]]:
        """The same as `pixel * scale + shift`."""
        shift = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return [self.rescale / std for std in self.std], shift
