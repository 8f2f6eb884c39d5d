"""How a model wants its pixels scaled."""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`(pixel * rescale - mean) / std` per channel, pixels 0 to 255."""

    mean: Triple
    std: Triple
    rescale: float = 1 / 255

    def scale_and_shift(self) -> tuple[Triple, Triple]:
        """The same as `pixel * scale + shift`."""
        scale = tuple(self.rescale / std for std in self.std)
        shift = tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))
        return (scale[0], scale[1], scale[2]), (shift[0], shift[1], shift[2])
