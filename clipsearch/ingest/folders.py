"""A folder of images as a source."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from clipsearch.client.inputs import IndexType, strings
from clipsearch.display.text import counted
from clipsearch.files import kind_of
from clipsearch.ingest.source import EmptySource, Item, absolute, path_text

IMAGE_SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    ]
)

DEFAULT_EXCLUDES = (
    "@eaDir",
    "#recycle",
    "#snapshot",
    ".thumbnails",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "__MACOSX",
    "Thumbs.db",
    "desktop.ini",
)
"""What systems and network drives put beside images."""

IMAGE_INDEXES: dict[str, IndexType] = {
    "name": "keyword",
    "folder": "keyword",
    "bytes": "integer",
    "modified": "datetime",
}
"""Payload indexes that suit the payload of a folder's images."""

_LONGEST_SUFFIX = 10
_NAMED = 5  # suffixes, patterns or folders in a sentence


@dataclass(slots=True)
class LeftOut:
    """What a walk through a folder passed over. `closed` are folders whose images are not known."""

    suffixes: Counter[str] = field(default_factory=Counter)
    special: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    links: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)

    @property
    def closed(self) -> list[Path]:
        """Folders of which it is not known what is in them."""
        return [*self.links, *self.unreadable]

    def remarks(self) -> list[str]:
        """A sentence for each kind of thing."""
        said = []
        if count := self.suffixes.total():
            kinds = "file of another kind" if count == 1 else "files of other kinds"
            said.append(f"{count:,} {kinds} left out: {_counts(self.suffixes)}")
        if count := self.special.total():
            said.append(f"{count:,} left out, not regular files: {_counts(self.special)}")
        if count := self.excluded.total():
            said.append(f"{count:,} excluded: {_counts(self.excluded)}")
        if self.hidden:
            said.append(f"{self.hidden:,} hidden left out (name begins with a dot)")
        if self.links:
            named = _first([path_text(path) for path in self.links])
            said.append(f"{counted(len(self.links), 'folder')} left out, being a link: {named}")
        if self.unreadable:
            named = _first([f"{path_text(path)} ({why})" for path, why in self.unreadable.items()])
            said.append(f"{counted(len(self.unreadable), 'folder')} cannot be read: {named}")
        return said


class PictureFolder:
    """The images in and below a folder, told by suffix. Their ids are hashes of their content.

    Payload: path, name, folder, bytes, modified, and `copies`: paths of equal images. Left out are
    hidden files and folders, links to folders, which may lead in circles, and what one of the
    patterns `exclude` or DEFAULT_EXCLUDES matches: a name, or with a slash the path below the folder.
    With `allow_empty` a folder that is gone or holds no images is a source of none.
    """

    dimension = None

    def __init__(self, folder: Path | str, *, exclude: Sequence[str] = (), allow_empty: bool = False) -> None:
        self.folder = absolute(folder)
        self.left_out = LeftOut()
        """What the last walk through the folder passed over."""
        self._asked = strings(exclude, "exclude", "patterns", ordered=False)
        self._exclude = (*self._asked, *DEFAULT_EXCLUDES)
        self._allow_empty = allow_empty
        self._total: int | None = None

    def prepare(self) -> int:
        """How many images there are. Raises SourceError for none."""
        if self._total is None:
            total = sum(1 for _ in self._walk())
            if not total and not self._allow_empty:
                raise EmptySource(self._why_empty())
            self._total = total
        return self._total

    def items(self) -> Iterator[Item]:
        """Each image, by path."""
        for position, path in enumerate(self._walk()):
            yield _item(position, path)

    def identity(self) -> None:
        """None: an image is known by its content, wherever it stands."""

    def remarks(self) -> list[str]:
        """What was left out, a sentence each."""
        idle = [repr(pattern) for pattern in self._asked if not self.left_out.excluded[pattern]]
        return self.left_out.remarks() + ([f"nothing is excluded by {_first(idle)}"] if idle else [])

    def _why_empty(self) -> str:
        where = path_text(self.folder)
        if not self.folder.exists():
            return f"{where}: no such folder"
        if reason := self.left_out.unreadable.get(self.folder):
            return f"{where}: {reason}"
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        rest = "".join(f"; {said}" for said in self.remarks())
        return f"{where} holds no images (told by suffix: {kinds}){rest}"

    def _walk(self) -> Iterator[Path]:
        """Absolute paths of the image files, in a stable order."""
        passed = self.left_out = LeftOut()
        waiting = [self.folder]
        while waiting:
            parent = waiting.pop()
            try:
                with os.scandir(parent) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except FileNotFoundError:  # nothing is in it, and that is certain
                continue
            except OSError as error:
                passed.unreadable[parent] = error.strerror or str(error)
                continue
            folders = []
            for entry in listed:
                path = Path(entry.path)
                if pattern := _excluding(path, self.folder, self._exclude):
                    passed.excluded[pattern] += 1
                elif entry.name.startswith("."):
                    passed.hidden += 1
                elif _is_folder(entry):
                    if entry.is_symlink():
                        passed.links.append(path)
                    else:
                        folders.append(path)
                elif path.suffix.lower() not in IMAGE_SUFFIXES:
                    passed.suffixes[_kind(path)] += 1
                elif (kind := _special(entry)) is not None:
                    passed.special[kind] += 1
                else:
                    yield path
            waiting += reversed(folders)


def image_payload(path: Path, about: os.stat_result) -> dict[str, Any]:
    """What is kept with an image."""
    return {
        "path": path_text(path),
        "name": path_text(path.name),
        "folder": path_text(path.parent),
        "bytes": about.st_size,
        "modified": _date(about.st_mtime),
    }


def _item(position: int, path: Path) -> Item:
    place = path_text(path)
    try:
        about = path.stat()
    except OSError:  # reading it will say what is wrong
        return Item(position, place, path=path)
    return Item(position, place, path=path, payload=image_payload(path, about), size=about.st_size)


def _date(seconds: float) -> str:
    """RFC 3339, which knows the years 1 to 9999; a disk with a wrong clock may give others."""
    try:
        date = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        date = (datetime.max if seconds > 0 else datetime.min).replace(tzinfo=UTC)
    return date.isoformat(timespec="seconds")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle: opening it will say so
        return False


def _special(entry: os.DirEntry[str]) -> str | None:
    """What an entry is that is no regular file; None for a file, and for what opening must find out."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return None
    return None if stat.S_ISREG(mode) else kind_of(mode)


def _excluding(path: Path, folder: Path, patterns: Sequence[str]) -> str | None:
    """The pattern that leaves a path out; None if there is none."""
    below = path.relative_to(folder).parts
    return next((pattern for pattern in patterns if _fits(pattern.rstrip("/"), below, folder)), None)


def _fits(pattern: str, below: Sequence[str], folder: Path) -> bool:
    """Whether a path below the folder fits: as for git, by its name or, with a slash, as a whole."""
    for top in (f"{folder}/", "./", "/"):
        if pattern.startswith(top):
            return _fits_whole(pattern.removeprefix(top).split("/"), below)
    return _fits_whole(pattern.split("/"), below if "/" in pattern else below[-1:])


def _fits_whole(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the parts of a path are those of a pattern; `**` stands for any number of them."""
    if not pattern or not path:
        return not path and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fits_whole(pattern[1:], path) or _fits_whole(pattern, path[1:])
    return fnmatchcase(path[0], pattern[0]) and _fits_whole(pattern[1:], path[1:])


def _kind(path: Path) -> str:
    """Its suffix, if it is one: what follows a dot may be anything."""
    suffix = path_text(path.suffix.lower())
    return suffix if 1 < len(suffix) <= _LONGEST_SUFFIX and not suffix[1:].isdigit() else "no suffix"


def _counts(counted: Counter[str]) -> str:
    """The most frequent: `2 .doc, 1 .txt`."""
    ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    return _first([f"{count:,} {name}" for name, count in ordered])


def _first(named: Sequence[str]) -> str:
    return ", ".join([*named[:_NAMED], *(["..."] if len(named) > _NAMED else [])])
