"""Observations become the statistics of each variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from threads_agent_dagster.db import experiments as db
from threads_agent_dagster.db.experiments import Observed
from threads_agent_dagster.domain.experiments import variant_statistics
from threads_agent_dagster.work.drain import Job, Origin

ASSET = "variant_performance"
CODE_VERSION = "2"  # raise it when the same input gives other rows: history is then stale
_COUNTED = (
    "variant_id", "dimensions", "impressions", "successes", "steered_impressions", "steered_successes", "guardrails",
    "last_used",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statistics:
    """The columns of `variant_performance`, and the deltas that they include."""

    columns: Mapping[str, Any]
    deltas: Sequence[int]


def job(code_version: str = CODE_VERSION, *, recount: bool = False) -> Job[list[Observed], Statistics]:
    """How `variant_performance` is made: what changed is added to what is stored; with `recount` all is counted."""
    trusted = "" if recount else code_version  # the version of stored figures that are added to
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: db.read_observed(connection, [row.key for row in rows], trusted),
        compute=statistics,
        store=store,
        stale=db.STALE,
        batch_size=1000,
    )


def statistics(observed: Sequence[Observed]) -> Mapping[str, Statistics]:
    """Pending key → the columns of `variant_performance`; NULL for what was never shown."""
    measured = variant_statistics([one.impressions for one in observed], [one.successes for one in observed])
    columns = {
        "mean_performance": measured.mean,
        "variance": measured.variance,
        "ci_low": measured.ci_low,
        "ci_high": measured.ci_high,
        "confidence_level": measured.confidence_level,
    }
    return {
        one.key: Statistics(
            {name: getattr(one, name) for name in _COUNTED}
            | {name: _null_if_nan(values[i]) for name, values in columns.items()},
            one.deltas,
        )
        for i, one in enumerate(observed)
    }


def _null_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def store(connection: Connection, results: Mapping[str, Statistics], origin: Origin) -> set[str]:
    """Stores the statistics of a batch."""
    made_by = {"run_id": origin.run_id, "code_version": origin.code_version}
    rows = [{**one.columns, **made_by} for one in results.values()]
    db.store_performance(connection, rows, [delta for one in results.values() for delta in one.deltas])
    return set()
