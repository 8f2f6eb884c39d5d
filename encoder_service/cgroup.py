"""Where the control groups of this process are found, both versions."""

from __future__ import annotations

from pathlib import Path


def group(root: Path, controller: str) -> str:
    """Our path in the hierarchy of `controller`; "" is version 2's only one."""
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def folders(mount: Path, group: str) -> list[Path]:
    """The group's folder and all above it. In a container the group's own path may not be mounted."""
    folder = mount / group.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(mount))]


def read(path: Path) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
