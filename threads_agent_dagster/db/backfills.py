"""What history lacks (rows that are missing or of another code version), and the backfills that make it anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, TextClause, text

from threads_agent_dagster.db.pending import UNLED, Claimed, Days, Priority
from threads_agent_dagster.domain.backfills import Rate, Spent

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


_BEGIN = text("""
    INSERT INTO backfills (id, asset, code_version, first_day, last_day, force, lease_until)
    VALUES (:id, :asset, :code_version, :first, :last, :force, clock_timestamp() + make_interval(secs => :lease))
    ON CONFLICT (id, asset) DO UPDATE SET lease_until = excluded.lease_until, ended_at = NULL, outcome = NULL
    WHERE backfills.outcome IS DISTINCT FROM 'cancelled' RETURNING id
""")
# What waits for a reason of its own is left alone; what a backfill without a worker left behind is taken over.
_MARK = f"""
    INSERT INTO pending (asset, key, day, priority, backfill)
    SELECT :asset, key, day, {int(Priority.LOW)}, :id FROM {{stale}} ORDER BY key
    ON CONFLICT (asset, key) DO UPDATE SET backfill = excluded.backfill, attempts = 0, not_before = NULL, error = NULL,
        change = CASE WHEN pending.dead_at IS NULL THEN pending.change ELSE excluded.change END, dead_at = NULL
    WHERE pending.dead_at IS NOT NULL OR pending.backfill IS NOT NULL AND {UNLED}
"""
_COUNT = text("""
    UPDATE backfills SET rows = greatest(rows, (SELECT count(*) FROM pending WHERE backfill = :id AND asset = :asset))
    WHERE id = :id AND asset = :asset RETURNING rows
""")


def begin(connection: Connection, id_: str, stale: Stale, lease_seconds: float) -> int | None:
    """Marks the rows to be made anew for the backfill `id_` alone, behind what others ask for.

    Returns how many it has to do, None when it was cancelled. Beginning it again goes on with what is left.
    """
    parameters = stale.parameters | {"id": id_, "lease": lease_seconds}
    if connection.execute(_BEGIN, parameters).one_or_none() is None:
        return None
    connection.execute(stale.statement(_MARK), parameters)
    return int(connection.execute(_COUNT, parameters).scalar_one())


_EXTEND = text(
    "UPDATE backfills SET lease_until = clock_timestamp() + make_interval(secs => :lease) "
    "WHERE id = :id AND asset = :asset AND outcome IS NULL"
)


def extend(connection: Connection, id_: str, asset: str, lease_seconds: float) -> None:
    """Says that somebody works on it."""
    connection.execute(_EXTEND, {"id": id_, "asset": asset, "lease": lease_seconds})


_LEFT = "(SELECT count(*) FROM pending WHERE backfill = backfills.id AND asset = backfills.asset AND dead_at IS NULL)"
_END = text(f"""
    UPDATE backfills SET lease_until = NULL, ended_at = clock_timestamp(),
        outcome = CASE WHEN {_LEFT} > 0 THEN 'handed over' ELSE 'done' END
    WHERE id = :id AND asset = :asset AND outcome IS NULL
""")


def end(connection: Connection, id_: str, asset: str) -> None:
    """Says that its worker ended; what is left is everyone's now."""
    connection.execute(_END, {"id": id_, "asset": asset})


_CANCEL = text(
    "UPDATE backfills SET outcome = 'cancelled', lease_until = NULL, ended_at = coalesce(ended_at, clock_timestamp()) "
    "WHERE id = :id AND outcome IS DISTINCT FROM 'done'"
)
_UNMARK = text("DELETE FROM pending WHERE backfill = :id")


def cancel(connection: Connection, id_: str) -> int:
    """Takes what is left of it off the queue, claimed or not: whoever works on it cannot store it any more.

    Returns how many rows that were.
    """
    connection.execute(_CANCEL, {"id": id_})
    return connection.execute(_UNMARK, {"id": id_}).rowcount


_PROGRESS = text(f"SELECT asset, rows, {_LEFT} AS rows_left, outcome FROM backfills WHERE id = :id ORDER BY asset")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill of one asset is; `outcome` is None while it is worked on."""

    asset: str
    rows: int
    left: int
    outcome: str | None


def progress(connection: Connection, id_: str) -> list[Progress]:
    """One per asset of the run; none before it began."""
    return [Progress(*row) for row in connection.execute(_PROGRESS, {"id": id_})]


_BY_VERSION = """
    SELECT code_version, count(*) AS rows, min(day) AS first, max(day) AS last FROM {stale}
    GROUP BY code_version ORDER BY code_version NULLS FIRST
"""
_DAYS = "SELECT count(DISTINCT day) FROM {stale}"


def count(connection: Connection, stale: Stale) -> tuple[dict[str | None, int], Days | None, int]:
    """Rows by the version that made them (None: missing), the range of their days, and how many days that are."""
    found = connection.execute(stale.statement(_BY_VERSION), stale.parameters).all()
    if not found:
        return {}, None, 0
    days = Days(min(row.first for row in found), max(row.last for row in found))
    distinct = connection.execute(stale.statement(_DAYS), stale.parameters).scalar_one()
    return {row.code_version: row.rows for row in found}, days, distinct


_READ = "SELECT key, day FROM {stale} ORDER BY key"


def read(connection: Connection, stale: Stale) -> list[Claimed]:
    """The rows as they would be claimed; nothing is."""
    found = connection.execute(stale.statement(_READ), stale.parameters)
    return [Claimed(row.key, row.day, change=0, attempts=0, priority=Priority.LOW) for row in found]


_MEASURED = text("""
    INSERT INTO drain_rates AS old (asset, code_version, drains, rows, seconds, rows_rows, rows_seconds, tokens,
        cost_usd)
    VALUES (:asset, :code_version, 1, :rows, :seconds, cast(:rows AS float) ^ 2, :rows * :seconds, :tokens, :cost_usd)
    ON CONFLICT (asset, code_version) DO UPDATE SET drains = old.drains + 1, rows = old.rows + excluded.rows,
        seconds = old.seconds + excluded.seconds, rows_rows = old.rows_rows + excluded.rows_rows,
        rows_seconds = old.rows_seconds + excluded.rows_seconds, tokens = old.tokens + excluded.tokens,
        cost_usd = old.cost_usd + excluded.cost_usd, measured_at = now()
""")


def store_rate(
    connection: Connection, asset: str, code_version: str, rows: int, seconds: float, spent: Spent | None
) -> None:
    """Adds what a drain took to the sums that rates are read from."""
    parameters = {"asset": asset, "code_version": code_version, "rows": rows, "seconds": seconds}
    parameters |= {"tokens": spent and spent.tokens, "cost_usd": spent and spent.usd}
    connection.execute(_MEASURED, parameters)


_RATE = text("""
    SELECT code_version, drains, rows, seconds, rows_rows, rows_seconds, tokens, cost_usd, measured_at FROM drain_rates
    WHERE asset = :asset ORDER BY code_version = :code_version DESC, measured_at DESC LIMIT 1
""")


def read_rate(connection: Connection, asset: str, code_version: str) -> Rate | None:
    """What this version took so far, else what another one took last; None when nothing was measured."""
    row = connection.execute(_RATE, {"asset": asset, "code_version": code_version}).one_or_none()
    return None if row is None else Rate(*row)
