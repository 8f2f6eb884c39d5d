"""What the control groups of this process say, of either version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def limits(root: Path, controller: str, v2: str, *v1: str) -> Iterator[str]:
    """What stands in these files, for our group and each above it: a parent's limit binds its children.

    The file of version 2, or those of version 1 one after another; "" where there are none. `root` is where
    /proc and /sys are found.
    """
    for mount, group, names in (
        (root / "sys/fs/cgroup", _group(root, ""), (v2,)),
        (root / "sys/fs/cgroup" / controller, _group(root, controller), v1),
    ):
        # In a container the group's own path may not be mounted.
        own = mount / group.strip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(mount):
                yield " ".join(read(folder / name) for name in names)


def read(path: Path) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _group(root: Path, controller: str) -> str:
    """Our path in the hierarchy of `controller`; "" is version 2's only one."""
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"
