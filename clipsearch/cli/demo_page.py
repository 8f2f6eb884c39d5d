"""The demo's page: every query with the pictures it found, in one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.display.thumbnails import thumbnail

if TYPE_CHECKING:
    from clipsearch.client.types import Classification, Model, SearchResult


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows; `answers` by the query's title."""

    model: Model
    pictures: int
    answers: Mapping[str, SearchResult]
    classified: Path
    classification: Classification


def write_page(report: Report, out: Path) -> Path:
    """Writes `index.html` into the folder `out` and returns its path."""
    model = report.model
    warning = "" if model.pretrained else "<p><b>Random weights: this means nothing.</b></p>"
    answers = "\n".join(
        f"<h2>{escape(title)}</h2>{result.to_html(fields=['name'])}"
        for title, result in report.answers.items()
    )
    labels = "\n".join(
        f"<tr><th>{escape(score.label)}</th><td><meter value={score.probability:.4f}></meter></td>"
        f"<td>{score.probability:.1%}</td></tr>"
        for score in report.classification.scores
    )
    page = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>clipsearch: what the demo found</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }}
</style>
<h1>What the demo found</h1>
<p>{report.pictures} pictures, searched by words and by picture with the model <b>{escape(model.name)}</b>
(fingerprint <code>{escape(model.fingerprint)}</code>).</p>
{warning}
{answers}
<h2>what is {escape(report.classified.name)}?</h2>
<img alt="" src="{thumbnail(report.classified) or ""}">
<table>
{labels}
</table>
</html>
"""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path
