"""What README.md, docs/ and deploy/README.md say is true as far as it can be told without running anything.

And what would not be is found out: commands that nothing understands, links that lead nowhere.

`UPDATE_DOCS=1 pytest tests/unit/test_docs.py` renews the tables that are made of the code.
"""

from __future__ import annotations

import os
import re

import pytest
import yaml

from clipsearch.cli.model import COLUMNS, cells, known_models
from clipsearch.gateway.reasons import GATEWAY_REASONS, OTHER
from clipsearch.serving.settings import environment_names, markdown_table
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings
from tests import documents
from tests.documents import PAGES, ROOT

SOURCES = {".py", ".sh", ".proto", ".yaml", ".html"}
EVERYWHERE = [*PAGES, "deploy/README.md"]


def gateway_reasons() -> str:
    rows = [f"| `{one.reason}` | {status} | {one.meaning} |" for status, one in GATEWAY_REASONS.items()]
    rows.append(f"| `{OTHER.reason}` | any | {OTHER.meaning} |")
    return "\n".join(["| Reason | Status | Meaning |", "|---|---|---|", *rows]) + "\n"


def models() -> str:
    """With links to where the figures are from."""
    heads = [column.removesuffix(">") for column in COLUMNS]
    lines = [heads, ["---:" if column.endswith(">") else "---" for column in COLUMNS]]
    lines += [[*cells(model)[:-1], f"[{model['source']}]({model['source_url']})"] for model in known_models()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


TABLES = {
    "settings encoder": ("docs/settings.md", markdown_table(EncoderSettings)),
    "settings search": ("docs/settings.md", markdown_table(SearchSettings)),
    "gateway reasons": ("docs/errors.md", gateway_reasons()),
    "models": ("docs/models.md", models()),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_code_says(name):
    page, table = TABLES[name]
    text = (ROOT / page).read_text()
    start, end = f"<!-- {name} -->\n", "<!-- end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    assert found, f"{page} has no place for {name}"
    wanted = f"{before}{start}{table}{end}{after}"
    if os.environ.get("UPDATE_DOCS"):
        (ROOT / page).write_text(wanted)
    elif text != wanted:
        pytest.fail(f"{page} is stale: run UPDATE_DOCS=1 pytest tests/unit/test_docs.py")


@pytest.mark.parametrize("page", EVERYWHERE)
def test_links_lead_somewhere(page):
    assert documents.broken_links(ROOT / page) == []


@pytest.mark.parametrize("page", EVERYWHERE)
def test_settings_and_reasons_that_are_named_exist(page):
    known = {*environment_names(EncoderSettings).values(), *environment_names(SearchSettings).values()}
    named = set(re.findall(r"\b(?:ENCODER|SEARCH|QDRANT)_[A-Z][A-Z_]*[A-Z]\b", (ROOT / page).read_text()))
    assert named <= {*known, *documents.reasons()}


def test_the_readme_leads_to_every_page():
    targets = {link.partition("#")[0] for link in documents.links(documents.read("README.md"))}
    assert {*EVERYWHERE} - {"README.md"} <= targets


def test_pages_that_the_code_names_exist():
    folders = ("clipsearch", "encoder_service", "search_service", "protos", "deploy", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES]
    for path in [*files, ROOT / "Makefile", ROOT / "CHANGELOG.md"]:
        for page in re.findall(r"\bdocs/[\w-]+\.md\b", path.read_text()):
            assert (ROOT / page).is_file(), f"{path} names {page}"


def test_files_that_contributing_names_exist():
    """Of a path the last part is enough, where it is said what it is in."""
    folders = ("clipsearch", "encoder_service", "search_service", "protos", "tests")
    there = [f"/{path.relative_to(ROOT)}" for folder in folders for path in (ROOT / folder).rglob("*.*")]
    named = re.findall(r"`([^`*]+\.(?:js|json|proto|py))`", (ROOT / "CONTRIBUTING.md").read_text())
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in there)] == []


def test_what_the_workflows_run_exists():
    workflows = [yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/workflows/*.yaml")]
    steps = [step for workflow in workflows for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [command for step in steps for command in documents.commands(step.get("run", ""))]
    assert "make test" in commands
    for command in commands:
        documents.check(command)


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
