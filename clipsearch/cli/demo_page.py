"""The demo's page: every query with the pictures it found, in one HTML file that needs no network."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipsearch.client.types import Classification, Hit, Model

_TEMPLATE = Path(__file__).with_name("demo_page.html")
_THUMBNAIL = 320  # longest edge in pixels: sharp at twice the density it is shown in


@dataclass(frozen=True, slots=True)
class Answer:
    """A query of the demo and what it found; `picture` is the query's own, for picture queries."""

    title: str
    hits: tuple[Hit, ...]
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows."""

    model: Model
    pictures: int
    answers: tuple[Answer, ...]
    classified: Path
    classification: Classification


def write_page(report: Report, out: Path) -> Path:
    """Writes `index.html` into the folder `out` and returns its path."""
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.substitute(
        model=html.escape(report.model.name),
        pictures=report.pictures,
        fingerprint=html.escape(report.model.fingerprint),
        bound=f"{report.model.weak_match_below:.2f}",
        warning=""
        if report.model.pretrained
        else '<p class="warning">Random weights: this means nothing.</p>',
        answers="\n".join(_answer(answer) for answer in report.answers),
        classified=_image(report.classified),
        classified_name=html.escape(report.classified.name),
        labels="\n".join(
            f'<tr><th scope="row">{html.escape(score.label)}</th>'
            f'<td><meter min="0" max="1" value="{score.probability:.4f}"></meter></td>'
            f"<td>{score.probability:.1%}</td></tr>"
            for score in report.classification.scores
        ),
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _answer(answer: Answer) -> str:
    query = f'<figure class="query">{_image(answer.picture)}</figure>' if answer.picture else ""
    hits = "".join(_hit(hit) for hit in answer.hits)
    return f'<section><h2>{html.escape(answer.title)}</h2><div class="row">{query}{hits}</div></section>'


def _hit(hit: Hit) -> str:
    path = Path(hit.payload["path"])
    mark, style = (' <span class="mark">weak</span>', ' class="weak"') if hit.weak else ("", "")
    return (
        f"<figure{style}>{_image(path)}"
        f"<figcaption><b>{hit.score:.3f}</b>{mark}<span>{html.escape(path.name)}</span></figcaption></figure>"
    )


def _image(path: Path) -> str:
    """The picture as an `img` that carries its own bytes."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80)
    encoded = base64.b64encode(jpeg.getvalue()).decode("ascii")
    return f'<img alt="{html.escape(path.name, quote=True)}" src="data:image/jpeg;base64,{encoded}">'
