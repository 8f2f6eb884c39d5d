"""Prints what an image installs: the project's dependencies and those of some of its extras, one a line.

    python requirements.py [EXTRA ...] < pyproject.toml

Images install these before the project itself, so that a change of code leaves the large layer alone.
Versions come from requirements.lock, as a constraint.
"""

from __future__ import annotations

import sys
import tomllib
from typing import Any


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """The requirements of `extras`, and of those that they name in their turn. Raises KeyError."""
    wanted = list(project["dependencies"])
    own = f"{project['name']}["
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            if requirement.startswith(own):
                wanted += requirements(project, requirement.removeprefix(own).rstrip("]").split(","))
            else:
                wanted.append(requirement)
    return list(dict.fromkeys(wanted))


if __name__ == "__main__":
    project = tomllib.load(sys.stdin.buffer)["project"]
    try:
        print("\n".join(requirements(project, sys.argv[1:])))
    except KeyError as error:
        sys.exit(f"pyproject.toml has no extra {error}")
