"""How the scores of whole histories lie: `python -m tests.score_distribution [CHECKOUT]`.

Prints the table of docs/achievements.md: of this checkout's first changes, and of two histories that are generated and
go through git itself (squashed pull requests; merges and rebased commits in turns, with co-authors, bots and reverts).
They give the same at any time. Of another checkout, when one is named, all changes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.git_histories import squash_history, workflow_history
from threads_agent_dagster.clients.git import read_commits
from threads_agent_dagster.domain.achievements import Score, score
from threads_agent_dagster.domain.changes import Change
from threads_agent_dagster.domain.commits import change_from_commit

ROOT = Path(__file__).parents[1]
OWN = 160  # the first of the checkout's changes, as later ones differ from day to day
COMMITS = 300
HEADER = """| History | Score | 10 % | 25 % | 50 % | 75 % | 90 % | highest |
|---|---|---:|---:|---:|---:|---:|---:|"""


def scores(checkout: Path) -> list[Score]:
    """Of what counts, the first change first."""
    found = [change_from_commit(commit, "me") for commit in read_commits(checkout)]
    return [score(one) for one in reversed(found) if isinstance(one, Change)]


def rows(name: str, scored: Sequence[Score]) -> Iterator[str]:
    """Two lines of the table."""
    yield _row(f"{name}, {len(scored)} changes", "impact", [one.impact_score for one in scored])
    yield _row("", "complexity", [one.complexity_score for one in scored])


def _row(name: str, kind: str, values: Sequence[float]) -> str:
    figures = np.percentile(values, [10, 25, 50, 75, 90, 100])
    return " | ".join([f"| {name}".rstrip(), kind, *(f"{figure:.0f}" for figure in figures)]) + " |"


def generated(folder: Path) -> Iterator[str]:
    """The lines of both generated histories."""
    squash = squash_history(COMMITS, seed=1).write(folder / "squash")
    yield from rows("generated, squash style", scores(squash))
    workflow = workflow_history(COMMITS, seed=2).write(folder / "workflow")
    yield from rows("generated, merge and rebase style", scores(workflow))


def main() -> None:
    if sys.argv[1:]:
        table = list(rows(Path(sys.argv[1]).resolve().name, scores(Path(sys.argv[1]))))
    else:
        with tempfile.TemporaryDirectory() as folder:
            table = [*rows("own, the first", scores(ROOT)[:OWN]), *generated(Path(folder))]
    sys.stdout.write("\n".join([HEADER, *table, ""]))


if __name__ == "__main__":
    main()
