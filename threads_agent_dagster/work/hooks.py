"""Hooks that compete become predictions, and predictions are held against what readers did."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Engine, RowMapping

from threads_agent_dagster.db import hooks as db
from threads_agent_dagster.domain.calibration import SIGNIFICANT, Measured, Pairs, calibrate, pairs_of
from threads_agent_dagster.domain.hooks import Foreseen, PredictedLogits, foresee, load_hook_model
from threads_agent_dagster.work.drain import Origin

PREDICTIONS = "hook_predictions"
CALIBRATION = "hook_calibration"
CODE_VERSION = "1"  # raise it when the same input gives other rows
BATCH = 32  # experiments predicted at a time; a run that is stopped keeps what it has


def predict(engine: Engine, origin: Origin) -> int:
    """Predicts the hooks that are new or changed, in small transactions; returns how many experiments that were."""
    version = load_hook_model().version
    with engine.connect() as connection:
        stale = db.read_stale(connection, version, origin.code_version)
    for start in range(0, len(stale), BATCH):
        batch = stale[start : start + BATCH]
        found = foresee([list(zip(one["hooks"], one["bodies"], strict=True)) for one in batch])
        rows = [row for one, seen in zip(batch, found, strict=True) for row in _predictions(one, seen, version, origin)]
        with engine.begin() as connection:
            db.store_predictions(connection, rows)
    return len(stale)


def _predictions(one: RowMapping, seen: Foreseen, version: str, origin: Origin) -> Iterator[dict[str, Any]]:
    ranks = np.argsort(np.argsort(-seen.predicted.mean, kind="stable")) + 1
    for variant_id, mean, sd, rank in zip(
        one["variant_ids"], seen.predicted.mean, seen.predicted.sd, ranks, strict=True
    ):
        yield {
            "variant_id": variant_id,
            "experiment_id": one["experiment_id"],
            "predicted_logit": float(mean),
            "predicted_sd": float(sd),
            "predicted_rank": int(rank),
            "sample": seen.sample,
            "model_version": version,
            "content_hash": one["content_hash"],
            "run_id": origin.run_id,
            "code_version": origin.code_version,
        }


def refresh_calibration(engine: Engine, origin: Origin) -> int:
    """Holds all predictions against what is measured now; returns the number of rows."""
    version = load_hook_model().version
    with engine.connect() as connection:
        measured = db.read_measured(connection, version)
    rows = [row | {"model_version": version} for row in _calibration(measured, origin)]
    with engine.begin() as connection:
        db.replace_calibration(connection, rows)
    return len(rows)


def _calibration(measured: Sequence[RowMapping], origin: Origin) -> Iterator[dict[str, Any]]:
    made_by = {"run_id": origin.run_id, "code_version": origin.code_version}
    for sample in sorted({row["sample"] for row in measured}):
        pairs = pairs_of([_measured(row) for row in measured if row["sample"] == sample])
        for counted, chosen in (("all", pairs), ("significant", _significant(pairs))):
            for one in calibrate(chosen):
                yield {"sample": sample, "counted": counted} | dataclasses.asdict(one) | made_by


def _significant(pairs: Pairs) -> Pairs:
    return pairs.where(np.abs(pairs.z) > SIGNIFICANT)


def _measured(row: RowMapping) -> Measured:
    mean, sd, impressions, successes = (
        np.array(row[name], dtype=np.float64) for name in ("mean", "sd", "impressions", "successes")
    )
    return Measured(PredictedLogits(mean, sd), impressions, successes)
