"""Finding the commands of a document, and telling those that would not be understood."""

from __future__ import annotations

import re

import pytest

from tests import documents


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("clipsearch serch x", "no command clipsearch serch"),
        ("clipsearch collections show x --nowhere 1", "show has no option --nowhere"),
        ("make benchmark", "make benchmark"),
        ("make load ARGS='--senarios text'", "tests.load has no option --senarios"),
        ("python -m tests.lode", "no module tests.lode"),
        ("python -m tests.load.compare a b --max 1", "compare has no option --max"),
        ("ENCODER_PROT=1 clipsearch serve encoder", "no such setting: ENCODER_PROT"),
        ("docker compose -f deploy/nothing.yaml up", "no such path: deploy/nothing.yaml"),
        ("deploy/nothing.sh | kubectl apply -f -", "no such file: deploy/nothing.sh"),
        ("pip install 'clipsearch[nothing]'", "no extra 'nothing'"),
    ],
)
def test_a_command_that_would_not_be_understood_is_found_out(command, complaint):
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        documents.check(command)


def test_a_link_that_leads_nowhere_is_found_out(tmp_path):
    (tmp_path / "other.md").write_text(
        "# Other\n\n## Twice, `so`\n\n## Twice, so\n\n```sh\n# no heading\n```\n"
    )
    page = tmp_path / "page.md"
    good = "[a](other.md) [b](other.md#twice-so) [c](other.md#twice-so-1) [d](#page) [e](https://f.example/g)"
    bad = ["gone.md", "other.md#gone", "other.md#twice-so-2", "other.md#no-heading", "#gone", "gone.webp"]
    wrong = "".join(f"[x]({link})\n" for link in bad[:-1]) + f"![x]({bad[-1]})\n"
    page.write_text(f"# Page\n\n{good} `[h](code.md)`\n{wrong}")
    assert documents.broken_links(page) == bad
