"""Reads what was observed of variants, stores their statistics; lists, starts and stops experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, text

from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced
from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.tables import experiments, variant_performance


@dataclass(frozen=True, slots=True)
class Observed:
    """All that was observed of one variant; `last_used` is None until something was."""

    key: str
    variant_id: str
    dimensions: Mapping[str, Any]
    impressions: int
    successes: int
    last_used: datetime | None


_OBSERVED = text("""
    SELECT 'variant:' || variants.variant_id, variants.variant_id, variants.dimensions,
        coalesce(seen.impressions, 0), coalesce(seen.successes, 0), seen.last_used
    FROM unnest(cast(:ids AS text[])) AS asked (id) JOIN variants ON variants.variant_id = asked.id
    LEFT JOIN LATERAL (
        SELECT sum(impressions) AS impressions, sum(successes) AS successes, max(observed_at) AS last_used
        FROM observations WHERE observations.variant_id = variants.variant_id
    ) AS seen ON true
""")


def read_observed(connection: Connection, keys: Sequence[str]) -> list[Observed]:
    """The sums behind each `variant:<id>`; variants that are gone are missing."""
    ids = [key.removeprefix("variant:") for key in keys]
    return [Observed(*row) for row in connection.execute(_OBSERVED, {"ids": ids})]


_MADE_BY_THE_DATABASE = ("id", "created_at", "updated_at")
_PERFORMANCE = [column.name for column in variant_performance.columns if column.name not in _MADE_BY_THE_DATABASE]
_STORE = insert_rows(
    "variant_performance",
    _PERFORMANCE,
    f"ON CONFLICT (variant_id) DO UPDATE SET {replaced(_PERFORMANCE)}, updated_at = now()",
)


def store_performance(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the statistics of the given variants."""
    connection.execute(_STORE, parameter(rows))


STALE = """
    SELECT 'variant:' || variants.variant_id AS key, utc_day(now()) AS day, stored.code_version
    FROM variants LEFT JOIN variant_performance AS stored USING (variant_id)
    WHERE :force OR stored.id IS NULL OR stored.code_version IS DISTINCT FROM :code_version"""


# What the API lists.

BY_ID = Order(experiments.c.id, experiments.c.id, descending=False)


def search(connection: Connection, window: Window) -> Sequence[RowMapping]:
    """A page of experiments by id."""
    return read(connection, select(experiments), BY_ID, window)


def find(connection: Connection, experiment_id: str) -> RowMapping | None:
    return connection.execute(select(experiments).where(experiments.c.id == experiment_id)).mappings().one_or_none()


def add(connection: Connection, values: Mapping[str, Any]) -> None:
    """Adds a draft. Raises IntegrityError when the id is taken."""
    connection.execute(insert(experiments).values(values))


_START = text(
    "UPDATE experiments SET status = 'running', started_at = clock_timestamp(), plan_hash = :plan_hash "
    "WHERE id = :id AND status = 'draft'"
)
_STOP = text(
    "UPDATE experiments SET status = 'stopped', ended_at = clock_timestamp() WHERE id = :id AND status = 'running'"
)


def start(connection: Connection, experiment_id: str, plan_hash: str) -> bool:
    """Freezes the plan of a draft; False when it is none."""
    return connection.execute(_START, {"id": experiment_id, "plan_hash": plan_hash}).rowcount == 1


def stop(connection: Connection, experiment_id: str) -> bool:
    """Ends a running experiment; False when it is not running."""
    return connection.execute(_STOP, {"id": experiment_id}).rowcount == 1
