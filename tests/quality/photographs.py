"""What the sample photographs show, by the file's stem: a caption, and the same in quite other words."""

SAID = {
    "astronaut": ("an astronaut in an orange suit", "a woman dressed for a flight into space"),
    "brick": ("a wall of bricks", "masonry of small red blocks"),
    "camera": ("a man with a camera on a tripod", "a photographer at work in a park"),
    "chelsea": ("a ginger cat", "a kitten with reddish fur"),
    "china": ("a Chinese palace with curved roofs", "a temple in Beijing"),
    "coffee": ("a cup of coffee with a spoon", "an espresso on a saucer"),
    "coins": ("Greek coins from Pompeii", "old pieces of metal money"),
    "flower": ("a dahlia in bloom", "the blossom of a garden plant"),
    "grass": ("a meadow of grass", "a green lawn"),
    "gravel": ("a heap of gravel", "many little stones"),
    "hubble_deep_field": ("galaxies in deep space", "faraway stars seen by a telescope"),
    "ihc": ("stained tissue under a microscope", "cells of the colon, coloured for a biologist"),
    "moon": ("craters on the moon", "the surface of the earth's satellite"),
    "motorcycle_left": ("a motorcycle in a garage", "a motorbike in a workshop"),
    "motorcycle_right": ("a red motorcycle, seen from the right", "the right view of a motorbike"),
    "page": ("a printed page of text", "a sheet of paper with letters"),
    "retina": ("the retina of a human eye", "blood vessels at the back of an eyeball"),
    "rocket": ("a rocket on its launch pad", "a spacecraft that is about to take off"),
}
