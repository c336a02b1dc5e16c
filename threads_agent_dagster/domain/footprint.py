"""What a change touched, as far as a hand wrote it: generated files, pure moves and data do not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from threads_agent_dagster.domain.changes import Change, FileChange
from threads_agent_dagster.domain.languages import Role, area, language, role

LINES_PER_FILE: Final = 1000  # more than this in one file and one change is output or a copy, whatever its name

# How much a line of a role counts towards the size of a change.
ROLE_WEIGHT: Final[Mapping[Role, float]] = {
    "code": 1.0,
    "infrastructure": 1.0,
    "test": 0.5,
    "docs": 0.5,
    "configuration": 0.5,
    "other": 0.25,
    "data": 0.0,
    "generated": 0.0,
}


@dataclass(frozen=True, slots=True)
class Footprint:
    """None where the source does not tell; `lines` are weighted by role, the other line counts are plain."""

    lines: float | None
    added_code: int | None
    removed_code: int | None
    test_lines: int | None
    docs_lines: int | None
    files: int | None
    areas: int | None
    languages: int | None
    roles: frozenset[Role]


def by_hand(files: Iterable[FileChange]) -> list[FileChange]:
    return [file for file in files if not _is_pure_move(file) and ROLE_WEIGHT[role(file.path)] > 0]


def _is_pure_move(file: FileChange) -> bool:
    return file.renamed_from is not None and file.additions == 0 and file.deletions == 0


def footprint(change: Change) -> Footprint:
    return _from_files(change.files) if change.files else _from_totals(change)


def _from_totals(change: Change) -> Footprint:
    """A pull request's delivery has totals and no paths, so a lock file in it cannot be told from code."""
    counted = change.additions is not None and change.deletions is not None
    lines = min((change.additions or 0) + (change.deletions or 0), LINES_PER_FILE * (change.changed_files or 1))
    return Footprint(
        lines=lines if counted else None,
        added_code=None,
        removed_code=None,
        test_lines=None,
        docs_lines=None,
        files=change.changed_files,
        areas=None,
        languages=None,
        roles=frozenset(),
    )


def _from_files(files: Iterable[FileChange]) -> Footprint:
    written = by_hand(files)
    counted = not written or any(file.additions is not None for file in written)
    added, removed = _per_role(written, "additions"), _per_role(written, "deletions")
    lines = sum(ROLE_WEIGHT[name] * count for name, count in (added + removed).items())
    return Footprint(
        lines=lines if counted else None,
        added_code=added["code"] + added["infrastructure"] if counted else None,
        removed_code=removed["code"] + removed["infrastructure"] if counted else None,
        test_lines=added["test"] if counted else None,
        docs_lines=added["docs"] if counted else None,
        files=len(written),
        areas=len({area(file.path) for file in written}),
        languages=len({name for file in written if (name := language(file.path))}),
        roles=frozenset(role(file.path) for file in written),
    )


def _per_role(files: Iterable[FileChange], count: str) -> Counter[Role]:
    lines: Counter[Role] = Counter()
    for file in files:
        lines[role(file.path)] += min(getattr(file, count) or 0, LINES_PER_FILE)
    return lines
