"""Where the files of a backup lie: in a folder, or, once it is finished, in one tar file."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from typing import Self

from clipsearch.backup import manifest
from clipsearch.backup.manifest import BackupError, Manifest, Part, from_json, part_of
from clipsearch.files import open_regular, write_whole

TAR = ".tar"
# What people take for files, and what would be folders of these names.
_OTHER_FILES = {".7z", ".bz2", ".gz", ".json", ".parquet", ".rar", ".tgz", ".xz", ".zip", ".zst"}


class Archive:
    """The files of a backup, to be read. Raises BackupError where they are not there or cut short."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar: tarfile.TarFile | None = None
        if path.is_dir():
            return
        try:
            file = open_regular(path)
        except FileNotFoundError:
            raise BackupError(f"there is no {path}") from None
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - closed on exit
        except tarfile.TarError:
            file.close()
            raise BackupError(f"{path} is no backup: neither a folder nor a tar file") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar is not None and self._tar.fileobj is not None:
            self._tar.fileobj.close()

    def manifest(self) -> Manifest:
        """What the backup says of itself."""
        content = self._read(manifest.FILE)
        if content is None:
            raise BackupError(f"{self.path} is no backup: there is no {manifest.FILE} in it")
        return from_json(content, str(self.path))

    def read(self, part: Part) -> bytes:
        """A part's content, compared with its checksum."""
        content = self._read(part.file)
        if content is None:
            raise BackupError(f"{self.path} is not whole: {part.file} is missing")
        if len(content) != part.bytes:
            raise BackupError(
                f"{self.path} is damaged: {part.file} has {len(content):,} bytes, not {part.bytes:,}"
            )
        if part_of(part.file, part.points, content) != part:
            raise BackupError(f"{self.path} is damaged: {part.file} does not have its checksum")
        return content

    def _read(self, name: str) -> bytes | None:
        if self._tar is None:
            try:
                with open_regular(self.path / name) as file:
                    return file.read()
            except FileNotFoundError:
                return None
        try:
            member = self._tar.extractfile(name)
            return None if member is None else member.read()
        except KeyError:
            return None
        except tarfile.TarError:
            raise BackupError(f"{self.path} is damaged: it ends before its end") from None


class Writing:
    """A backup that is being made, in a folder; of one that is to be a file, in a folder beside it.

    Parts and manifest are on the disk before they are counted as written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_name(f"{path.name}.unfinished") if path.suffix.lower() == TAR else path

    def begun(self) -> Manifest | None:
        """The manifest of a run that was stopped; None = there was none.

        Raises BackupError for the name of another kind of file and where something lies in the way, and
        OSError.
        """
        if self.path.suffix.lower() in _OTHER_FILES:
            raise BackupError(
                f"{self.path}: a backup is a folder, or a file whose name ends in {TAR}, "
                f"and no {self.path.suffix}"
            )
        if self.folder != self.path and self.path.exists():
            raise BackupError(f"{self.path} exists; give the backup another name")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not any(self.folder.iterdir()):
            return None
        if not (self.folder / manifest.FILE).exists():
            raise BackupError(f"{self.folder} is not empty; name a new folder")
        found = Archive(self.folder).manifest()
        if found.finished and self.folder == self.path:
            raise BackupError(
                f"{self.path} is a backup of {found.collection!r}, finished at {found.finished}; "
                "give this one another name"
            )
        return found

    def write_part(self, file: str, points: int, content: bytes) -> Part:
        """Writes a part, in place of one that was not counted yet."""
        write_whole(self.folder / file, content, to_disk=True)
        return part_of(file, points, content)

    def write_manifest(self, said: Manifest) -> None:
        """Writes the manifest, in place of the one before."""
        write_whole(self.folder / manifest.FILE, said.to_json(), to_disk=True)

    def close(self, said: Manifest) -> None:
        """Packs the finished backup if it is to be a file; that needs its size once more for the time."""
        if self.folder == self.path:
            return
        packing = self.folder / f"packing{TAR}"
        with packing.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for name in (manifest.FILE, *(part.file for part in said.parts)):
                    with (self.folder / name).open("rb") as content:
                        about = tarfile.TarInfo(name)
                        about.size = os.fstat(content.fileno()).st_size
                        tar.addfile(about, content)
            os.fsync(file.fileno())
        packing.replace(self.path)
        shutil.rmtree(self.folder)
