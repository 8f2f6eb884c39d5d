"""Packages that a command needs and a plain installation lacks."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from clipsearch.cli.problems import Problem


def need(what: str, extra: str, packages: Sequence[str]) -> None:
    """Raises Problem that says what to install if one of the packages, by import name, is not there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise Problem(f"{what} needs {', '.join(missing)}: pip install 'clipsearch[{extra}]'")
