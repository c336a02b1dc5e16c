"""Reads what was observed of variants, stores their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.pending import REMARK
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


def store_performance(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the statistics of the given variants."""
    statement = upsert(variant_performance)
    replaced = {name: statement.excluded[name] for name in rows[0] if name != "variant_id"}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["variant_id"], set_=replaced | {"updated_at": text("now()")}),
        list(rows),
    )


_STALE = text(f"""
    INSERT INTO pending (asset, key, day, priority)
    SELECT 'variant_performance', 'variant:' || variants.variant_id, utc_day(now()), 2
    FROM variants LEFT JOIN variant_performance AS stored USING (variant_id)
    WHERE :force OR stored.id IS NULL OR stored.code_version IS DISTINCT FROM :code_version
    ORDER BY 2 {REMARK}
""")


def mark_stale(connection: Connection, code_version: str, *, force: bool) -> int:
    """Marks the variants without statistics or with those of another version; returns how many."""
    return connection.execute(_STALE, {"code_version": code_version, "force": force}).rowcount


# What the API lists.

BY_ID = Order(experiments.c.id, experiments.c.id, descending=False)


def search(connection: Connection, window: Window) -> Sequence[RowMapping]:
    """A page of experiments by id."""
    return read(connection, select(experiments), BY_ID, window)


def find(connection: Connection, experiment_id: str) -> RowMapping | None:
    return connection.execute(select(experiments).where(experiments.c.id == experiment_id)).mappings().one_or_none()
