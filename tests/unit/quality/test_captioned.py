from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.quality.captioned import changed, folder


def png(size: tuple[int, int], colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_changed_image_is_cut_and_mirrored():
    image = Image.new("RGB", (100, 50), "red")
    image.paste("blue", (0, 0, 50, 50))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    with Image.open(io.BytesIO(changed(buffer.getvalue()))) as opened:
        other = opened.convert("RGB")
    assert other.size == (80, 40)
    assert (other.getpixel((5, 5)), other.getpixel((75, 5))) == ((255, 0, 0), (0, 0, 255))


def test_captions_stand_beside_the_images_of_a_folder(tmp_path: Path):
    (tmp_path / "birds").mkdir()
    for name, words in (("birds/a.png", "A Frog.\nUne grenouille"), ("b.png", "A tree"), ("c.png", None)):
        (tmp_path / name).write_bytes(png((4, 4)))
        if words:
            (tmp_path / name).with_suffix(".txt").write_text(words)
    tree, frog = folder(tmp_path)
    assert (frog.id, frog.caption) == ("birds/a.png", "A Frog.")
    assert frog.paraphrase == "there is a Frog to be seen"
    assert (tree.id, tree.image) == ("b.png", png((4, 4)))
