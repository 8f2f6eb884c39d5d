"""Files that are read: regular ones. Opening a named pipe or a device may wait for ever."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = {
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
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def _check_regular(path: Path | str, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise OSError(0, f"a {kind_of(about.st_mode)}, not a regular file", str(path))
