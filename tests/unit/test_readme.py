"""The README's tables are current. `UPDATE_README=1 pytest tests/unit/test_readme.py` renews them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from clipsearch.serving.reasons import REASONS
from clipsearch.serving.settings_table import markdown_table
from clipsearch.web.reasons import markdown_table as web_reasons_table
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings

README = Path(__file__).parent.parent.parent / "README.md"


def generated() -> dict[str, str]:
    rows = [f"| `{name}` | {reason.status} | {reason.meaning} |" for name, reason in REASONS.items()]
    return {
        "settings encoder": markdown_table(EncoderSettings),
        "settings search": markdown_table(SearchSettings),
        "reasons": "\n".join(["| Reason | Status | Meaning |", "|---|---|---|", *rows]) + "\n",
        "web reasons": web_reasons_table(),
    }


def filled(text: str) -> str:
    for name, part in generated().items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        assert re.search(pattern, text, re.DOTALL), f"README.md has no place for {name}"
        text = re.sub(pattern, lambda found, part=part: f"{found[1]}{part}{found[2]}", text, flags=re.DOTALL)
    return text


def test_tables_are_what_the_code_says():
    text = README.read_text()
    if os.environ.get("UPDATE_README"):
        text = filled(text)
        README.write_text(text)
    assert filled(text) == text, "stale: run UPDATE_README=1 pytest tests/unit/test_readme.py"
