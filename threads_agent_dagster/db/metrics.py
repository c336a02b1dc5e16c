"""Folds captured changes into the daily figures behind `dashboard_metrics`, and reads their sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, text

from threads_agent_dagster.db.identities import MINE

CHANNEL = "dashboard_metrics"  # where each refresh is announced once it is committed

_KEEP_DAYS = 7
_NOTE = text("INSERT INTO dashboard_refreshes (folded, run_id, code_version) VALUES (:folded, :run_id, :code_version)")
_ANNOUNCE = text("SELECT pg_notify(:channel, '')")
_FORGET = text(
    "DELETE FROM dashboard_refreshes WHERE refreshed_at < now() - make_interval(days => :days) "
    "AND id < (SELECT max(id) FROM dashboard_refreshes)"
)


def refresh(connection: Connection, run_id: str | None, code_version: str) -> int:
    """Folds what changed since the last time and notes who did it; returns how many changes."""
    folded: int = connection.execute(text("SELECT refresh_dashboard_metrics()")).scalar_one()
    connection.execute(_NOTE, {"folded": folded, "run_id": run_id, "code_version": code_version})
    connection.execute(_FORGET, {"days": _KEEP_DAYS})
    connection.execute(_ANNOUNCE, {"channel": CHANNEL})
    return folded


_DUE = text("""
    SELECT EXISTS (SELECT FROM metric_deltas)
        OR coalesce((SELECT max(refreshed_at) FROM dashboard_refreshes) < now() - interval '1 hour', true)
""")


def is_due(connection: Connection) -> bool:
    """Whether a change waits to be folded, or nobody looked for an hour."""
    return bool(connection.execute(_DUE).scalar_one())


_SUMMARY = text("SELECT * FROM dashboard_metrics")


def summary(connection: Connection) -> RowMapping:
    """The figures of the last 30 days, and the refresh that they come from."""
    return connection.execute(_SUMMARY).mappings().one()


# Computed from the rows, as no rollup knows authors: 30 days of one person are few.
_MY_DAILY = text(f"""
    WITH mine AS (
        SELECT utc_day(completed_at) AS day, category::text AS label, impact_score, time_saved_hours FROM achievements
        WHERE deleted_at IS NULL AND completed_at > now() - interval '31 days'
        AND utc_day(completed_at) > utc_day(now()) - 30 AND utc_day(completed_at) <= utc_day(now()) AND {MINE}
    )
    SELECT metric, day, label, sum(n)::bigint AS n, sum(total)::double precision AS total
    FROM mine, LATERAL (VALUES
        ('achievements', 1, 0),
        ('impact', (impact_score IS NOT NULL)::int, coalesce(impact_score, 0)),
        ('time_saved', (time_saved_hours IS NOT NULL)::int, coalesce(time_saved_hours, 0))
    ) AS v (metric, n, total)
    GROUP BY GROUPING SETS ((metric, day), (metric, label))
    HAVING GROUPING(label) = 1 OR metric = 'achievements'
    ORDER BY day, n DESC, label
""")


def read_mine(connection: Connection) -> Sequence[Row[Any]]:
    """Of my achievements of the last 30 days: per metric a row for each day, and per category one of how many."""
    return connection.execute(_MY_DAILY).all()
