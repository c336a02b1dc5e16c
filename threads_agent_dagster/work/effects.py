"""Arcs and measurements become effects: which feelings go with engagement, for each persona and design."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Engine, RowMapping

from threads_agent_dagster.db import effects as db
from threads_agent_dagster.domain.effects import Effect, Posts, effects
from threads_agent_dagster.work.drain import Origin

ASSET = "emotion_effects"
CODE_VERSION = "1"


def refresh(engine: Engine, origin: Origin) -> int:
    """Computes all effects anew from what is stored now; returns how many."""
    with engine.connect() as connection:
        measured = db.read_measured(connection)
    rows = list(_rows(measured, origin))
    with engine.begin() as connection:
        db.replace_all(connection, rows)
    return len(rows)


def _rows(measured: Sequence[RowMapping], origin: Origin) -> Iterator[dict[str, Any]]:
    for (persona, design), found in itertools.groupby(measured, lambda row: (row["persona_id"], row["design"])):
        group = list(found)
        scorers = ", ".join(sorted({row["scorer_version"] for row in group}))
        for one in effects(_posts(group), db.FEATURES):
            yield {"persona_id": persona, "design": design, "scorer_version": scorers} | _columns(one, origin)


def _posts(rows: Sequence[RowMapping]) -> Posts:
    _, comparison = np.unique([row["comparison"] for row in rows], return_inverse=True)
    return Posts(
        comparison,
        np.array([row["impressions"] for row in rows], dtype=float),
        np.array([row["engagements"] for row in rows], dtype=float),
        np.array([[row[name] for name in db.FEATURES] for row in rows], dtype=float),
    )


def _columns(one: Effect, origin: Origin) -> dict[str, Any]:
    return {
        "feature": one.feature,
        "comparisons": one.comparisons,
        "posts": one.posts,
        "odds_ratio": one.odds_ratio,
        "odds_ratio_low": one.low,
        "odds_ratio_high": one.high,
        "p_value": one.p_value,
        "q_value": one.q_value,
        "verdict": one.verdict,
        "run_id": origin.run_id,
        "code_version": origin.code_version,
    }
