"""/api/v1/experiments: which variants compete, by which plan, and how they stand."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field, model_validator
from sqlalchemy import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from threads_agent_dagster.api.bodies import Count, Id, In, JsonObject, Line, Name, Out, Page, SearchText, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep, OnceDep, Reply
from threads_agent_dagster.api.exports import Format, attached, csv_lines, streamed
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.api.variants import EXPORTED, Variant
from threads_agent_dagster.db import experiments as db
from threads_agent_dagster.db import variants, verdicts
from threads_agent_dagster.domain.experiments import SRM_ALPHA, Plan
from threads_agent_dagster.domain.verdicts import sha256_of
from threads_agent_dagster.errors import Conflict, NotFound
from threads_agent_dagster.work import verdicts as work

router = APIRouter(prefix="/api/v1/experiments", tags=["experiments"], route_class=StrictRoute)

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
ExperimentId = Annotated[Name, Path()]


class Experiment(Out):
    id: str
    name: str
    status: str
    plan: dict[str, Any]
    plan_hash: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Arm(Out):
    """`p_best`: probability to be the best under independent Beta(1, 1) posteriors. Unit: `expected_loss` is a rate."""

    variant_id: str
    rate: float | None
    ci_low: float | None
    ci_high: float | None
    p_best: float | None
    expected_loss: float | None


class Comparison(Out):
    """A variant against the control in one metric; bounds are relative to it, p-values corrected over all of these."""

    metric: str
    variant_id: str
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    q_bh: float | None


class Verdict(Out):
    """By the counts that the table holds now and the plan: the same of both always give the same verdict.

    `gate` names what held a decision back. `sha256` is that of the whole document; `stored_sha256` that of the row in
    `experiment_verdicts`, the same once the asset has caught up, null before the experiment was started.
    """

    verdict: str
    reason: str
    rule: str
    variant_id: str | None
    gate: str | None
    test: str
    prior: str
    n: int
    input_version: str
    p_value: float | None
    p_value_sequential: float | None
    srm_p: float | None
    plan: dict[str, Any]
    arms: list[Arm]
    comparisons: list[Comparison]
    sha256: str
    stored_sha256: str | None


class Summary(Experiment):
    """An experiment and its verdict as it is stored; the verdict's fields are null before it was started."""

    verdict: str | None
    reason: str | None
    rule: str | None
    variant_id: str | None
    gate: str | None
    n: int | None
    test: str | None
    p_value: float | None
    p_value_sequential: float | None
    srm_p: float | None
    promoted: str | None
    input_version: str | None
    sha256: str | None
    computed_at: datetime | None
    run_id: str | None
    code_version: str | None


SUMMARISED = tuple(name for name in Summary.model_fields if name != "plan")  # a plan is no cell; its hash is


class Promotion(Out):
    variant_id: str
    promoted_at: datetime
    promoted_by: str
    forced: bool
    reason: str | None
    verdict: str | None
    verdict_sha256: str | None
    undone_at: datetime | None
    undone_by: str | None
    undo_reason: str | None


class ExperimentWithVariants(Experiment):
    """The control stands first. `result` is null while a variant has no statistics, or there is only one."""

    variants: list[Variant]
    result: Verdict | None
    promoted: str | None
    promotions: list[Promotion]


class ToleranceIn(In):
    """A harm, counted per impression, that the winner may raise by at most this share of the control's."""

    metric: Name
    tolerated: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class PlanIn(In):
    """What is fixed before the first impression; the split is in the variants' weights."""

    metric: Name = "success_rate"

    alpha: Share = 0.05
    power: Share = 0.8
    mde: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 0.1
    stopping_rule: Literal["sequential", "fixed"] = "sequential"
    horizon: Id | None = None
    guardrails: list[ToleranceIn] = Field(default_factory=list, max_length=20)
    srm_alpha: Share = SRM_ALPHA
    minimum_sample: Count = 100
    stale_days: Annotated[float, Field(gt=0, le=365, allow_inf_nan=False)] = 7.0
    policy: Literal["fixed", "thompson", "top_two", "ucb", "forward"] = "fixed"
    floor: Share = 0.1

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.stopping_rule == "fixed" and self.horizon is None:
            raise ValueError("a fixed plan decides at its horizon, so it needs one (threads-agent experiments plan)")
        if len({one.metric for one in self.guardrails} | {self.metric}) <= len(self.guardrails):
            raise ValueError("a metric stands twice")
        return self


class ArmIn(In):
    """`weight`: planned share of the impressions, equal without."""

    variant_id: Name
    weight: Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)] | None = None
    dimensions: JsonObject = Field(default_factory=dict)
    hook: Line | None = None
    is_control: bool = False


class NewExperiment(In):
    """At least two variants, one of them the control."""

    id: Name
    name: Line
    plan: PlanIn = PlanIn()
    variants: Annotated[list[ArmIn], Field(min_length=2, max_length=100)]

    @model_validator(mode="after")
    def _one_control(self) -> Self:
        if len({arm.variant_id for arm in self.variants}) < len(self.variants):
            raise ValueError("a variant id stands twice")
        if sum(arm.is_control for arm in self.variants) != 1:
            raise ValueError("exactly one variant is the control")
        if len({arm.weight is None for arm in self.variants}) > 1:
            raise ValueError("either all variants have a weight or none")
        return self

    def stored_plan(self) -> dict[str, Any]:
        """With the weights in the order that all figures follow: the control first, then by id."""
        ordered = sorted(self.variants, key=lambda arm: (not arm.is_control, arm.variant_id))
        plan = self.plan.model_dump(exclude_none=True)
        weights = [arm.weight for arm in ordered if arm.weight is not None]
        return plan | {"weights": weights} if weights else plan


class PromotionIn(In):
    """Without `variant_id`, what the verdict ships. `force` insists on another, and says why in `reason`."""

    variant_id: Name | None = None
    force: bool = False
    reason: Line | None = None


class UndoIn(In):
    reason: Line | None = None


@router.get("")
def list_experiments(paging: PagingDep, engine: EngineDep, _: Viewer) -> Page[Experiment]:
    window = paging.window(db.BY_ID)
    with engine.connect() as connection:
        rows = db.search(connection, window)
    return page_of(Experiment, rows, db.BY_ID, window)


@router.get("/export", response_class=StreamingResponse)
def export_all(
    engine: EngineDep,
    _: Viewer,
    format: Format = "csv",
    q: SearchText | None = None,
    status: Literal["draft", "running", "stopped"] | None = None,
) -> StreamingResponse:
    """Experiments with their stored verdicts as one file of any length (JSON: an array); `q` is part of the name."""
    return streamed(engine, lambda one: verdicts.export(one, q, status), Summary, SUMMARISED, "experiments", format)


@router.get("/{experiment_id}")
def get_experiment(experiment_id: ExperimentId, engine: EngineDep, _: Viewer) -> ExperimentWithVariants:
    with engine.connect() as connection:
        return _shown(connection, experiment_id)


@router.get("/{experiment_id}/export", response_class=Response)
def export(experiment_id: ExperimentId, engine: EngineDep, _: Viewer, format: Format = "csv") -> Response:
    """The experiment as a file: its variants as the table has them (CSV), or all that is shown here (JSON)."""
    with engine.connect() as connection:
        shown = _shown(connection, experiment_id)
    if format == "json":
        body, media_type = shown.model_dump_json(indent=2).encode(), "application/json"
    else:
        body, media_type = "".join(csv_lines(shown.variants, EXPORTED)).encode(), "text/csv; charset=utf-8"
    return Response(body, media_type=media_type, headers=attached(f"experiment.{format}"))


@router.post("", status_code=201, response_model=ExperimentWithVariants)
def create_experiment(new: NewExperiment, once: OnceDep, _: Editor) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        try:
            db.add(connection, {"id": new.id, "name": new.name, "plan": new.stored_plan()})
            for arm in new.variants:
                variants.add(connection, arm.model_dump(exclude={"weight"}) | {"experiment_id": new.id})
        except IntegrityError as error:
            raise Conflict(f"the experiment {new.id!r} or one of its variants is there already") from error
        return Reply(201, _shown(connection, new.id), {"Location": f"{router.prefix}/{new.id}"})

    return once(write)


@router.post("/{experiment_id}/start", response_model=ExperimentWithVariants)
def start(experiment_id: ExperimentId, once: OnceDep, _: Editor) -> JSONResponse:
    """Freezes the plan and its hash; from then on the variants are fixed too."""

    def write(connection: Connection) -> Reply:
        plan = Plan.of(_found(connection, experiment_id)["plan"])
        if not db.start(connection, experiment_id, plan.sha256()):
            raise Conflict(f"the experiment {experiment_id!r} was started before")
        return Reply(200, _shown(connection, experiment_id), {})

    return once(write)


@router.post("/{experiment_id}/stop", response_model=ExperimentWithVariants)
def stop(experiment_id: ExperimentId, once: OnceDep, _: Editor) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        _found(connection, experiment_id)
        if not db.stop(connection, experiment_id):
            raise Conflict(f"the experiment {experiment_id!r} is not running")
        return Reply(200, _shown(connection, experiment_id), {})

    return once(write)


@router.post("/{experiment_id}/promote", response_model=ExperimentWithVariants)
def promote(experiment_id: ExperimentId, wanted: PromotionIn, once: OnceDep, caller: Editor) -> JSONResponse:
    """Makes a variant the winner, which `POST /api/v1/variants/select` then gives to everybody."""

    def write(connection: Connection) -> Reply:
        _found(connection, experiment_id)
        names = [arm["variant_id"] for arm in variants.of_experiment(connection, experiment_id)]
        wish = work.Wish(experiment_id, wanted.variant_id, caller.name, wanted.force, wanted.reason)
        work.promote(connection, wish, names)
        return Reply(200, _shown(connection, experiment_id), {})

    return once(write)


@router.post("/{experiment_id}/undo", response_model=ExperimentWithVariants)
def undo(experiment_id: ExperimentId, wanted: UndoIn, once: OnceDep, caller: Editor) -> JSONResponse:
    """Takes the newest promotion back; the one before it counts again."""

    def write(connection: Connection) -> Reply:
        _found(connection, experiment_id)
        work.undo(connection, experiment_id, caller.name, wanted.reason)
        return Reply(200, _shown(connection, experiment_id), {})

    return once(write)


def _found(connection: Connection, experiment_id: str) -> RowMapping:
    row = db.find(connection, experiment_id)
    if row is None:
        raise NotFound(f"there is no experiment {experiment_id!r}")
    return row


def _shown(connection: Connection, experiment_id: str) -> ExperimentWithVariants:
    row = _found(connection, experiment_id)
    shown = {
        "variants": [dict(arm) for arm in variants.of_experiment(connection, experiment_id)],
        "result": _judged(connection, experiment_id),
        "promoted": verdicts.promoted(connection, experiment_id),
        "promotions": [dict(one) for one in verdicts.promotions_of(connection, experiment_id)],
    }
    return ExperimentWithVariants.model_validate(dict(row) | shown)


def _judged(connection: Connection, experiment_id: str) -> Verdict | None:
    document, stored = work.current(connection, experiment_id), verdicts.find(connection, experiment_id)
    if document is None:
        return None
    hashes = {"sha256": sha256_of(document), "stored_sha256": None if stored is None else stored["sha256"]}
    return Verdict.model_validate(dict(document) | hashes)
