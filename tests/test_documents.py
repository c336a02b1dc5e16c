"""What the documents say is there: files they link to, commands they name; and the index leads to each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from tests import score_distribution
from threads_agent_dagster.cli import LATER, assemble

ROOT = Path(__file__).parent.parent
INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
COMMAND = re.compile(r"(?:^|[`|;&])\s*(?:\.venv/bin/)?threads-agent ([a-z]+(?: [a-z]+)?)(?![/\w-])", re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def _documents() -> list[Path]:
    folders = ("", "docs", "docs/decisions", "helm/threads-agent", "benchmarks/results", "threads_agent_dagster")
    return sorted({*(path for folder in folders for path in (ROOT / folder).glob("*.md"))})


def _links(path: Path) -> set[Path]:
    return {(path.parent / target).resolve() for target in LINK.findall(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("path", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    assert [target for target in _links(path) if not target.exists()] == []


def test_the_index_leads_to_every_document() -> None:
    documents = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {INDEX.resolve()}
    assert sorted(path.name for path in documents - _links(INDEX)) == [], "add them to docs/README.md"


def test_the_distribution_of_scores_is_the_one_that_its_command_prints(tmp_path: Path) -> None:
    """Its own history's lines aside: a copy without the whole history has none."""
    document = (ROOT / "docs" / "achievements.md").read_text(encoding="utf-8")
    assert [line for line in score_distribution.generated(tmp_path) if line not in document.splitlines()] == []


def _commands() -> set[str]:
    """Every command as it is typed after `threads-agent`, groups included."""
    found = set()
    for first in ["up", *LATER]:
        top = get_command(assemble([first]))
        for name, command in top.commands.items():  # type: ignore[attr-defined]
            found |= {name} | {f"{name} {one}" for one in getattr(command, "commands", {})}
    return found


def test_every_command_that_a_document_names_exists() -> None:
    known = _commands()
    groups = {name.split()[0] for name in known if " " in name}
    unknown = set()
    for path in _documents():
        for code in CODE.findall(path.read_text(encoding="utf-8")):
            for words in COMMAND.findall(code):
                first = words.split()[0]
                if first not in known or (first in groups and words not in known | groups):
                    unknown.add(f"{path.name}: threads-agent {words}")
    assert sorted(unknown) == []


def test_the_settings_are_documented_where_people_look() -> None:
    """The index and the README lead to the generated list."""
    assert (ROOT / ".env.example").resolve() in _links(INDEX) & _links(ROOT / "README.md")
