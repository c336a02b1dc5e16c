"""What was acknowledged against what is there: set algebra of the ledger and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tests.chaos.traffic import Ledger, sha_of

TASKS = """
SELECT payload ->> 'topic', count(DISTINCT tasks.id), count(posts.id), count(arcs.id)
FROM tasks LEFT JOIN posts ON posts.task_id = tasks.id LEFT JOIN emotion_trajectories AS arcs ON arcs.post_id = posts.id
WHERE payload ->> 'topic' LIKE 'chaos-%' GROUP BY 1
"""
BODIES = "SELECT body_hash, count(*) FROM inbox WHERE delivery_id LIKE 'chaos-%' GROUP BY 1 HAVING count(*) > 1"
SHAS = (
    "SELECT right(source_key, 40), count(*) FROM achievements "
    "WHERE source_key LIKE '%chaos/engine%' AND source_type = 'git' AND deleted_at IS NULL GROUP BY 1"
)
ISSUES = (
    "SELECT split_part(title, ' ', 1), array_agg(title) FROM achievements "
    "WHERE source_key LIKE 'gh:chaos/engine:issue:%' AND deleted_at IS NULL GROUP BY 1"
)
REFUSED = "SELECT delivery_id FROM inbox WHERE delivery_id = ANY(%s)"


@dataclass(frozen=True)
class Verdict:
    """By kind of request: how many were acknowledged and applied, and which went wrong."""

    acknowledged: dict[str, int]
    applied: dict[str, int]
    lost: dict[str, list[str]]
    doubled: dict[str, list[str]]
    forged: list[str]  # refused deliveries that are in the tables all the same

    @property
    def holds(self) -> bool:
        return not any([*self.lost.values(), *self.doubled.values(), self.forged])


def judge(database_url: str, ledger: Ledger, refused: Sequence[str]) -> Verdict:
    """Asked when nothing waits any more."""
    tasks, pushes, issues = ledger.read("task"), ledger.read("delivery"), ledger.read("issue second")
    with psycopg.connect(database_url) as connection:
        made = {topic: counts for topic, *counts in connection.execute(TASKS)}
        commits: dict[str, int] = dict(connection.execute(SHAS).fetchall())
        titles: dict[str, list[str]] = dict(connection.execute(ISSUES).fetchall())
        bodies = [digest for digest, _ in connection.execute(BODIES)]
        forged = [id_ for (id_,) in connection.execute(REFUSED, [list(refused)])]
    by_sha = {sha_of(key): key for key in pushes}
    many = {"tasks": tasks, "deliveries": pushes, "reordered deliveries": issues}
    lost = {
        "tasks": [key for key in tasks if key not in made or 0 in made[key]],
        "deliveries": [key for sha, key in by_sha.items() if sha not in commits],
        "reordered deliveries": [key for key in issues if titles.get(key, [""])[0] != f"{key} second"],
    }
    doubled = {
        "tasks": [key for key, counts in made.items() if max(counts) > 1],
        "deliveries": [sha for sha, count in commits.items() if count > 1] + bodies,
        "reordered deliveries": [key for key, found in titles.items() if len(found) > 1],
    }
    for kind, acknowledged in many.items():
        doubled[kind] += [key for key, ids in acknowledged.items() if len(ids) > 1]
    return Verdict(
        acknowledged={kind: len(found) for kind, found in many.items()},
        applied={kind: len(found) - len(lost[kind]) for kind, found in many.items()},
        lost=lost,
        doubled=doubled,
        forged=forged,
    )
