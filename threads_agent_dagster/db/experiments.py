"""Reads what was observed of variants, stores their statistics; lists, starts and stops experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, insert, select, text

from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced
from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.tables import experiments, variant_performance


@dataclass(frozen=True, slots=True)
class Observed:
    """All that was observed of one variant; `last_used` is None until something was.

    `steered` is the part whose variant a policy chose, which no verdict may use; `deltas` are what this includes and
    what must be deleted when it is stored.
    """

    key: str
    variant_id: str
    dimensions: Mapping[str, Any]
    impressions: int
    successes: int
    steered_impressions: int
    steered_successes: int
    guardrails: Mapping[str, int]
    last_used: datetime | None
    deltas: Sequence[int]


# One statement, so that sums and deltas are of one moment. History is read only for a variant without statistics of
# this code version, or of which something was taken back.
_OBSERVED = text("""
    SELECT 'variant:' || variants.variant_id AS key, variants.variant_id, variants.dimensions,
        coalesce(history.impressions, stored.impressions + changed.impressions) AS impressions,
        coalesce(history.successes, stored.successes + changed.successes) AS successes,
        coalesce(history.steered_impressions, stored.steered_impressions + changed.steered_impressions)
            AS steered_impressions,
        coalesce(history.steered_successes, stored.steered_successes + changed.steered_successes) AS steered_successes,
        CASE WHEN history.impressions IS NULL THEN greatest(stored.last_used, changed.last_used)
            ELSE history.last_used END AS last_used,
        history.impressions IS NULL AS folded, history.guardrails, stored.guardrails AS stored_guardrails,
        changed.guardrails AS changed_guardrails, changed.ids
    FROM unnest(cast(:ids AS text[])) AS asked (id) JOIN variants ON variants.variant_id = asked.id
    LEFT JOIN variant_performance AS stored
        ON stored.variant_id = asked.id AND stored.code_version = :code_version
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(impressions), 0)::bigint AS impressions, coalesce(sum(successes), 0)::bigint AS successes,
            coalesce(sum(steered_impressions), 0)::bigint AS steered_impressions,
            coalesce(sum(steered_successes), 0)::bigint AS steered_successes, max(last_used) AS last_used,
            array_agg(guardrails) FILTER (WHERE guardrails IS NOT NULL) AS guardrails,
            array_agg(id) AS ids, coalesce(bool_or(recount), false) AS recount
        FROM observation_deltas AS delta WHERE delta.variant_id = asked.id
    ) AS changed
    LEFT JOIN LATERAL (
        SELECT coalesce(sum(impressions), 0)::bigint AS impressions, coalesce(sum(successes), 0)::bigint AS successes,
            coalesce(sum(impressions) FILTER (WHERE steered), 0)::bigint AS steered_impressions,
            coalesce(sum(successes) FILTER (WHERE steered), 0)::bigint AS steered_successes,
            max(observed_at) AS last_used,
            (SELECT jsonb_object_agg(metric, n) FROM (
                SELECT key AS metric, sum(value::bigint) AS n FROM observations AS harmful, jsonb_each_text(guardrails)
                WHERE harmful.variant_id = asked.id AND NOT steered GROUP BY key) AS counted) AS guardrails
        FROM observations
        WHERE observations.variant_id = asked.id AND (stored.variant_id IS NULL OR changed.recount)
        HAVING stored.variant_id IS NULL OR changed.recount
    ) AS history ON true
""")


def read_observed(connection: Connection, keys: Sequence[str], code_version: str) -> list[Observed]:
    """The sums behind each `variant:<id>`; variants that are gone are missing."""
    ids = [key.removeprefix("variant:") for key in keys]
    rows = connection.execute(_OBSERVED, {"ids": ids, "code_version": code_version})
    return [
        Observed(
            row.key,
            row.variant_id,
            row.dimensions,
            row.impressions,
            row.successes,
            row.steered_impressions,
            row.steered_successes,
            _guardrails(row),
            row.last_used,
            row.ids or [],
        )
        for row in rows
    ]


def _guardrails(row: Row[Any]) -> Mapping[str, int]:
    if not row.folded:
        return row.guardrails or {}
    counted: Counter[str] = Counter(row.stored_guardrails)
    for change in row.changed_guardrails or []:
        counted.update(change)
    return dict(counted)


_MADE_BY_THE_DATABASE = ("id", "created_at", "updated_at")
_PERFORMANCE = [column.name for column in variant_performance.columns if column.name not in _MADE_BY_THE_DATABASE]
_STORE = insert_rows(
    "variant_performance",
    _PERFORMANCE,
    f"ON CONFLICT (variant_id) DO UPDATE SET {replaced(_PERFORMANCE)}, updated_at = now()",
)


_FORGET = text("DELETE FROM observation_deltas WHERE id = ANY(:ids)")


def store_performance(connection: Connection, rows: Sequence[Mapping[str, Any]], deltas: Sequence[int]) -> None:
    """Replaces the statistics of the given variants, which include `deltas`."""
    connection.execute(_STORE, parameter(rows))
    connection.execute(_FORGET, {"ids": list(deltas)})


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
