"""Runs the checks of an asset as one SQL statement.

A check is a SELECT of the keys of the rows that break it, under the name of the sentence that should be true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Violations:
    """How many rows break a check, and the keys of a few of them."""

    count: int
    samples: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing breaks it."""
        return self.count == 0


def run(connection: Connection, checks: Mapping[str, str], parameters: Mapping[str, Any]) -> dict[str, Violations]:
    """Check name → what breaks it; one statement for all of them."""
    parts = [
        f"SELECT '{name}' AS name, count(*) AS bad, (array_agg(key::text ORDER BY key))[1:{SAMPLES}] AS samples "
        f"FROM ({breaking}) AS broken (key)"
        for name, breaking in checks.items()
    ]
    rows = connection.execute(text(" UNION ALL ".join(parts)), dict(parameters))
    return {row.name: Violations(row.bad, row.samples or []) for row in rows}
