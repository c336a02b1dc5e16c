"""What history lacks: rows that are missing or of another code version, counted, read or marked to be made anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, TextClause, text

from threads_agent_dagster.db.pending import REMARK, Claimed, Days, Priority

EVERYTHING = Days(date(1, 1, 1), date(9999, 12, 30))


@dataclass(frozen=True, slots=True)
class Stale:
    """The rows of `asset` within `days` that are not of `code_version`; with `force` all of them.

    `select` is a SELECT of key, day and code_version (that of the row that is there, NULL where there is none) between
    :first and :last, which are missing or not of :code_version unless :force. Dead rows stay dead unless forced.
    """

    asset: str
    select: str
    code_version: str
    days: Days = EVERYTHING
    force: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """What its statements bind."""
        return {
            "asset": self.asset,
            "first": self.days.start,
            "last": self.days.end,
            "code_version": self.code_version,
            "force": self.force,
        }

    def statement(self, template: str) -> TextClause:
        """The template with `{stale}` replaced by the rows in question."""
        alive = """SELECT * FROM ({select}) AS found WHERE :force OR NOT EXISTS (SELECT FROM pending
            WHERE pending.asset = :asset AND pending.key = found.key AND pending.dead_at IS NOT NULL)"""
        return text(template.format(stale=f"({alive.format(select=self.select)}) AS stale"))


_MARK = f"""
    INSERT INTO pending (asset, key, day, priority)
    SELECT :asset, key, day, {int(Priority.LOW)} FROM {{stale}} ORDER BY key {REMARK}
"""


def mark(connection: Connection, stale: Stale) -> int:
    """Marks the rows to be made anew, behind what others ask for; returns how many."""
    return connection.execute(stale.statement(_MARK), stale.parameters).rowcount


_READ = "SELECT key, day FROM {stale} ORDER BY key"


def read(connection: Connection, stale: Stale) -> list[Claimed]:
    """The rows as they would be claimed; nothing is."""
    found = connection.execute(stale.statement(_READ), stale.parameters)
    return [Claimed(row.key, row.day, change=0, attempts=0, priority=Priority.LOW) for row in found]
