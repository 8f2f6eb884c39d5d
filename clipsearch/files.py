"""Files that are read, regular ones only, and files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from io import BufferedReader
from pathlib import Path

_FILE_KINDS = {
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFDIR: "folder",
}


def open_regular(path: Path | str) -> BufferedReader:
    """Opens a file for reading, if it is a regular one. Raises OSError, with the reason otherwise.

    Opening a named pipe would wait for ever; what only looks like a file on a first look is looked
    at again once it is open.
    """
    _check_regular(path, Path(path).stat())
    unwaiting = getattr(os, "O_NONBLOCK", 0)  # Windows has no such flag, and no such pipes
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | unwaiting))  # noqa: SIM115
    try:
        _check_regular(path, os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def kind_of(mode: int) -> str:
    """What a file that is no regular one is, for people."""
    return _FILE_KINDS.get(stat.S_IFMT(mode), "special file")


def _check_regular(path: Path | str, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise OSError(0, f"a {kind_of(about.st_mode)}, not a regular file", str(path))


def write_whole(path: Path, content: bytes, *, to_disk: bool = False) -> None:
    """Writes a file so that readers find the old one or the new one, never a piece.

    With `to_disk` that holds after a crash of the machine too. Raises OSError.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with new.open("wb") as file:
            file.write(content)
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        error.filename = str(path)  # nobody has heard of the other one
        new.unlink(missing_ok=True)
        raise
