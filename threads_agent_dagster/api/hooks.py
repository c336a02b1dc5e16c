"""/api/v1/hooks: what the hook model said of hooks that compete, and how that came true."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from threads_agent_dagster.api.bodies import Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Viewer
from threads_agent_dagster.db import hooks as db

router = APIRouter(prefix="/api/v1/hooks", tags=["hooks"], route_class=StrictRoute)


class Prediction(Out):
    """Log-odds against the mean of the experiment's hooks; `sample` says whether the model knew the experiment."""

    variant_id: str
    experiment_id: str
    predicted_logit: float
    predicted_sd: float
    predicted_rank: int
    sample: str
    model_version: str
    created_at: datetime
    run_id: str | None
    code_version: str | None


class Calibration(Out):
    """How pairs with a predicted chance in this range came true; the range from 0.5 to 1 is all of them.

    `expected_right` counts in that few readers can measure the worse hook higher. The interval is null where fewer
    than ten experiments were compared. A coin has `brier` 0.25 and `log_loss` 0.693.
    """

    sample: str
    counted: str
    chance_from: float
    chance_to: float
    experiments: int
    pairs: int
    mean_chance: float
    expected_right: float
    share_right: float
    share_low: float | None
    share_high: float | None
    brier: float
    log_loss: float
    model_version: str
    created_at: datetime
    run_id: str | None
    code_version: str | None


@router.get("/predictions")
def list_predictions(
    paging: PagingDep, engine: EngineDep, _: Viewer, experiment_id: Name | None = None
) -> Page[Prediction]:
    window = paging.window(db.BY_VARIANT)
    with engine.connect() as connection:
        rows = db.search(connection, experiment_id, window)
    return page_of(Prediction, rows, db.BY_VARIANT, window)


@router.get("/calibration")
def calibration(engine: EngineDep, _: Viewer) -> list[Calibration]:
    """Empty until the asset `hook_calibration` found measured pairs."""
    with engine.connect() as connection:
        rows = db.find_calibration(connection)
    return [Calibration.model_validate(dict(row)) for row in rows]
