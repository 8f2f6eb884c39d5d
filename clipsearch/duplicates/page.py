"""Groups of near-equal points as a page of one file, with small images of those whose `path` is here."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from clipsearch.display.text import counted, cut
from clipsearch.display.thumbnails import thumbnail
from clipsearch.duplicates.groups import Member

MOST_GROUPS = 500
_MOST_POINTS = 24  # of a group
_MOST_IMAGES = 2000
_LONGEST = 200  # characters of what is said of a point


def write_page(
    collection: str, above: float, groups: Sequence[Sequence[Member]], more: int, path: Path
) -> None:
    """Writes the page. `more`: groups beyond those given. Raises OSError."""
    images = iter(range(_MOST_IMAGES))
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    beyond = f" {more:,} smaller groups are not shown." if more else ""
    page = template.substitute(
        title=html.escape(f"Duplicates in {collection}"),
        about=html.escape(
            f"{counted(len(groups) + more, 'group')} of points with a cosine of at least {above:g}, the "
            f"largest first; each point with its cosine to the first of its group.{beyond}"
        ),
        groups="\n".join(_group(number, group, images) for number, group in enumerate(groups, start=1)),
    )
    path.write_text(page, encoding="utf-8")


def _group(number: int, group: Sequence[Member], images: Iterator[int]) -> str:
    shown = "".join(_point(member, images) for member in group[:_MOST_POINTS])
    more = f"<li>and {len(group) - _MOST_POINTS:,} more</li>" if len(group) > _MOST_POINTS else ""
    return f"<h2>{number}: {counted(len(group), 'point')}</h2>\n<ul>{shown}{more}</ul>"


def _point(member: Member, images: Iterator[int]) -> str:
    """`images` has an item for each image that the page may still have."""
    image, path = "", member.payload.get("path")
    if isinstance(path, str) and next(images, None) is not None and (source := thumbnail(Path(path))):
        image = f'<img alt="" src="{source}">'
    said = html.escape(cut(str(path) if path else _fields(member), _LONGEST))
    return f"<li>{image}<b>{member.cosine:.3f}</b> {html.escape(cut(member.id, _LONGEST))}<br>{said}</li>"


def _fields(member: Member) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(member.payload.items()))
