"""Lists variants with their statistics, adds variants, and appends what was observed of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, bindparam, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY as PG_ARRAY
from sqlalchemy.dialects.postgresql import BOOLEAN, INTEGER, TEXT, TIMESTAMP

from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.tables import variant_performance, variants

EXPORT_ROWS = 1_000  # fetched at a time
_MEASURED = (
    "impressions", "successes", "mean_performance", "variance", "confidence_level", "ci_low", "ci_high", "last_used",
    "updated_at", "run_id", "code_version", "steered_impressions", "steered_successes", "guardrails",
)  # fmt: skip
_ROWS = select(variants, *(variant_performance.c[name] for name in _MEASURED)).outerjoin_from(
    variants, variant_performance, variants.c.variant_id == variant_performance.c.variant_id
)
BY_ID = Order(variants.c.variant_id, variants.c.variant_id, descending=False)


def search(connection: Connection, experiment_id: str | None, window: Window) -> Sequence[RowMapping]:
    """A page of variants by id, those of one experiment or all; figures are NULL until they were computed."""
    rows = _ROWS if experiment_id is None else _ROWS.where(variants.c.experiment_id == experiment_id)
    return read(connection, rows, BY_ID, window)


def export(connection: Connection, experiment_id: str | None) -> Iterator[RowMapping]:
    """All variants of an experiment, or all there are, by id; in constant memory."""
    rows = _ROWS if experiment_id is None else _ROWS.where(variants.c.experiment_id == experiment_id)
    found = connection.execution_options(yield_per=EXPORT_ROWS).execute(rows.order_by(variants.c.variant_id))
    yield from found.mappings()


def of_experiment(connection: Connection, experiment_id: str) -> Sequence[RowMapping]:
    """All variants of an experiment: the control first, then by id in the order of code points."""
    rows = _ROWS.where(variants.c.experiment_id == experiment_id)
    return (
        connection.execute(rows.order_by(variants.c.is_control.desc(), variants.c.variant_id.collate("C")))
        .mappings()
        .all()
    )


def find(connection: Connection, variant_id: str) -> RowMapping | None:
    return connection.execute(_ROWS.where(variants.c.variant_id == variant_id)).mappings().one_or_none()


def add(connection: Connection, values: Mapping[str, Any]) -> None:
    """Raises IntegrityError when the id is taken or the experiment is gone."""
    connection.execute(insert(variants).values(values))


@dataclass(frozen=True, slots=True)
class Observation:
    """Counts that are observed once; `event_id` names them wherever they are sent again."""

    event_id: str
    impressions: int
    successes: int
    observed_at: datetime
    steered: bool = False
    guardrails: Mapping[str, int] | None = None


# In the order of the event ids, so that two batches which overlap wait for each other instead of deadlocking.
_RECORD = text("""
    INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at, steered, guardrails)
    SELECT event_id, :variant_id, impressions, successes, observed_at, steered, cast(guardrails AS jsonb)
    FROM unnest(:event_ids, :impressions, :successes, :observed_at, :steered, :guardrails)
        AS observed (event_id, impressions, successes, observed_at, steered, guardrails)
    ORDER BY event_id ON CONFLICT (event_id) DO NOTHING RETURNING event_id
""").bindparams(
    bindparam("event_ids", type_=PG_ARRAY(TEXT)),
    bindparam("impressions", type_=PG_ARRAY(INTEGER)),
    bindparam("successes", type_=PG_ARRAY(INTEGER)),
    bindparam("observed_at", type_=PG_ARRAY(TIMESTAMP(timezone=True))),
    bindparam("steered", type_=PG_ARRAY(BOOLEAN)),
    bindparam("guardrails", type_=PG_ARRAY(TEXT)),
)


def record(connection: Connection, variant_id: str, observed: Sequence[Observation]) -> set[str]:
    """Appends what is not there yet; returns its event ids."""
    parameters = {
        "variant_id": variant_id,
        "event_ids": [one.event_id for one in observed],
        "impressions": [one.impressions for one in observed],
        "successes": [one.successes for one in observed],
        "observed_at": [one.observed_at for one in observed],
        "steered": [one.steered for one in observed],
        "guardrails": [json.dumps(dict(one.guardrails)) if one.guardrails else None for one in observed],
    }
    return {row.event_id for row in connection.execute(_RECORD, parameters)}


_RECORDED = text(
    "SELECT event_id, variant_id, impressions, successes, steered, coalesce(guardrails, '{}') AS guardrails "
    "FROM observations WHERE event_id = ANY(:event_ids)"
)


def recorded(connection: Connection, event_ids: Sequence[str]) -> Mapping[str, RowMapping]:
    """Event id → variant_id, impressions, successes, steered and guardrails of those that are there."""
    rows = connection.execute(_RECORDED, {"event_ids": list(event_ids)}).mappings()
    return {row["event_id"]: row for row in rows}


# What a selection needs.

_ASSIGN = text("""
    INSERT INTO assignments (experiment_id, unit_id, variant_id, steered) VALUES (:experiment_id, :unit_id, :variant_id,
        :steered) ON CONFLICT (experiment_id, unit_id) DO NOTHING
""")
_ASSIGNED = text(
    "SELECT variant_id, steered FROM assignments WHERE experiment_id = :experiment_id AND unit_id = :unit_id"
)


def assigned(connection: Connection, experiment_id: str, unit_id: str) -> tuple[str, bool] | None:
    """(variant, steered) of a unit that was given one."""
    found = connection.execute(_ASSIGNED, {"experiment_id": experiment_id, "unit_id": unit_id}).one_or_none()
    return None if found is None else (found.variant_id, found.steered)


def assign(connection: Connection, experiment_id: str, unit_id: str, variant_id: str, *, steered: bool) -> None:
    """Remembers the unit's variant; who was first stays."""
    unit = {"experiment_id": experiment_id, "unit_id": unit_id, "variant_id": variant_id, "steered": steered}
    connection.execute(_ASSIGN, unit)


_EARLIER = text("""
    SELECT experiment_id, array_agg(successes) AS successes, array_agg(impressions) AS impressions
    FROM variants JOIN variant_performance USING (variant_id) JOIN experiments ON experiments.id = experiment_id
    WHERE experiment_id <> :experiment_id AND impressions > 0
    GROUP BY experiment_id HAVING count(*) > 1 AND sum(successes) > 0 ORDER BY max(last_used) DESC, 1 LIMIT :limit
""")
_SIMILAR = text("""
    SELECT performance.dimensions, successes, impressions FROM variant_performance AS performance
    JOIN variants USING (variant_id) WHERE experiment_id IS DISTINCT FROM :experiment_id AND impressions > 0
    AND EXISTS (SELECT FROM jsonb_each(performance.dimensions) AS own
        JOIN jsonb_each(cast(:dimensions AS jsonb)) AS asked ON asked.key = own.key)
    ORDER BY last_used DESC, variant_id LIMIT :limit
""")


def earlier(connection: Connection, experiment_id: str, limit: int) -> Sequence[Row[Any]]:
    """Successes and impressions of the arms of other experiments, the newest first."""
    return connection.execute(_EARLIER, {"experiment_id": experiment_id, "limit": limit}).all()


def similar(
    connection: Connection, experiment_id: str, dimensions: Mapping[str, Any], limit: int
) -> Sequence[Row[Any]]:
    """Dimensions and counts of variants of other experiments that name one of these dimensions, the newest first."""
    asked = {"experiment_id": experiment_id, "dimensions": json.dumps(dict(dimensions)), "limit": limit}
    return connection.execute(_SIMILAR, asked).all()
