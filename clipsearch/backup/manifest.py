"""What a backup says of itself, in `manifest.json`: the collection, and its parts with their checksums."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf import json_format

from clipsearch.client import responses
from clipsearch.client.collection_requests import create_collection
from clipsearch.client.inputs import CollectionOptions
from clipsearch.client.types import Collection
from clipsearch.search.v1 import collection_pb2

FILE = "manifest.json"
_FORMAT = "clipsearch backup"
_VERSION = 1
_PART = re.compile(r"part-\d{6,}\.parquet")


class BackupError(Exception):
    """A backup or a collection that is not as it must be; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of points."""

    file: str
    points: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The collection as it was at the start, and what is in the backup.

    `settings` are those of the API's CreateCollectionRequest, model and fingerprint among them. Times
    are ISO 8601 in UTC. Until it is `finished` ("" = not yet), `next` is the page that comes next.
    """

    collection: str
    settings: Mapping[str, Any]
    aliases: tuple[str, ...]
    successor: str
    started: str
    points_at_start: int
    parts: tuple[Part, ...] = ()
    next: str = ""
    finished: str = ""
    points_at_end: int = 0

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        return str(self.settings["fingerprint"])

    @property
    def dimension(self) -> int:
        """Numbers a vector."""
        return int(self.settings["dimension"])

    @property
    def points(self) -> int:
        """Points in the backup."""
        return sum(part.points for part in self.parts)

    def options(self) -> CollectionOptions:
        """The settings as `create_collection` takes them. Raises BackupError for one that is not known."""
        try:  # a collection is told in the fields that ask for one
            message = json_format.ParseDict(dict(self.settings), collection_pb2.Collection())
        except json_format.ParseError as error:
            raise BackupError(f"the backup has a setting that this version does not know: {error}") from None
        return responses.collection(message).options()

    def to_json(self) -> bytes:
        """The file's content."""
        said = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        text = json.dumps({**said, "sha256": _checksum(said)}, indent=1, ensure_ascii=False)
        return f"{text}\n".encode()


def from_json(content: bytes, where: str) -> Manifest:
    """Reads the file's content; `where` says whose it is. Raises BackupError unless all of it is right."""
    try:
        said = json.loads(content)
    except ValueError:
        raise BackupError(f"{where} is damaged: {FILE} is no JSON") from None
    if not isinstance(said, dict) or said.pop("format", None) != _FORMAT:
        raise BackupError(f"{where} is no backup of clipsearch: {FILE} is something else's")
    if (version := said.get("version")) != _VERSION:
        raise BackupError(f"{where} has the format {version}, this version reads {_VERSION}")
    if said.pop("sha256", None) != _checksum({"format": _FORMAT, **said}):
        raise BackupError(f"{where} is damaged: {FILE} does not have its checksum")
    del said["version"]
    parts = tuple(Part(**part) for part in said.pop("parts"))
    manifest = Manifest(**{**said, "aliases": tuple(said["aliases"])}, parts=parts)
    foreign = [part.file for part in parts if not _PART.fullmatch(part.file)]
    if foreign:
        raise BackupError(f"{where} names {foreign[0]!r}, which is no file of a backup")
    return manifest


def settings_of(collection: Collection) -> dict[str, Any]:
    """The settings of a collection, for a manifest."""
    asked = create_collection(collection.name, **collection.options())
    return json_format.MessageToDict(asked, preserving_proto_field_name=True)


def part_name(number: int) -> str:
    """The name of a part's file."""
    return f"part-{number:06}.parquet"


def part_of(file: str, points: int, content: bytes) -> Part:
    """What the manifest says of a file."""
    return Part(file, points, len(content), hashlib.sha256(content).hexdigest())


def _checksum(said: Mapping[str, Any]) -> str:
    """Of the manifest without its checksum, as JSON with sorted keys and no space."""
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
