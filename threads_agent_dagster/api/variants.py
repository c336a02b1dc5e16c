"""/api/v1/variants: what competes, and what was observed of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field, model_validator
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from threads_agent_dagster.api.bodies import (
    INTEGER,
    Count,
    In,
    JsonObject,
    Line,
    Moment,
    Name,
    Out,
    Page,
    Past,
    StrictRoute,
)
from threads_agent_dagster.api.dependencies import EngineDep, OnceDep, Reply
from threads_agent_dagster.api.exports import Format, streamed
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import experiments
from threads_agent_dagster.db import variants as db
from threads_agent_dagster.domain import allocation
from threads_agent_dagster.domain.allocation import block_id
from threads_agent_dagster.errors import Conflict, InvalidInput
from threads_agent_dagster.work.variants import record, select

router = APIRouter(prefix="/api/v1/variants", tags=["variants"], route_class=StrictRoute)

MAX_BATCH = 1000


class Variant(Out):
    """A variant with its statistics, null until they were computed; the interval is Wilson's at `confidence_level`."""

    variant_id: str
    experiment_id: str | None
    dimensions: dict[str, Any]
    hook: str | None
    is_control: bool
    created_at: datetime
    impressions: int | None
    successes: int | None
    mean_performance: float | None
    variance: float | None
    confidence_level: float | None
    ci_low: float | None
    ci_high: float | None
    last_used: datetime | None
    updated_at: datetime | None
    run_id: str | None
    code_version: str | None
    steered_impressions: int | None
    steered_successes: int | None
    guardrails: dict[str, int] | None


class NewVariant(In):
    variant_id: Name
    experiment_id: Name | None = None
    dimensions: JsonObject = Field(default_factory=dict)
    hook: Line | None = None
    is_control: bool = False


class Observed(In):
    """Counts that were observed once; sent again under the same event id they count once.

    `steered` says that a policy chose the variant (as `select` answered); no verdict uses such impressions.
    `guardrails` counts harm by metric, e.g. {"unfollows": 2}.
    """

    event_id: Annotated[Name, Field(max_length=100)]
    impressions: Count
    successes: Count
    observed_at: Past | None = None
    steered: bool = False
    guardrails: Annotated[dict[Name, Count], Field(max_length=20)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.successes > self.impressions:
            raise ValueError("more successes than impressions")
        if max((self.guardrails or {}).values(), default=0) > self.impressions:
            raise ValueError("more harm than impressions")
        return self


class Batch(In):
    observations: Annotated[list[Observed], Field(min_length=1, max_length=MAX_BATCH)]

    @model_validator(mode="after")
    def _each_event_once(self) -> Self:
        if len({one.event_id for one in self.observations}) < len(self.observations):
            raise ValueError("an event id stands twice in the batch")
        return self


class Recorded(Out):
    """`duplicates` were known already and are not counted again."""

    variant_id: str
    recorded: int
    duplicates: int


class Unit(In):
    """What gets a variant: a `unit_id`, or a persona's posts within one hour (`persona_id` and `at`)."""

    experiment_id: Name
    unit_id: Name | None = None
    persona_id: Name | None = None
    at: Moment | None = None
    seed: Annotated[int, Field(ge=0, le=INTEGER)] = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        block = (self.persona_id is not None) + (self.at is not None)
        if block == 1 or (block == 2) == (self.unit_id is not None):
            raise ValueError("give either unit_id, or persona_id and at")
        return self

    def name(self) -> str:
        if self.persona_id is None or self.at is None:
            assert self.unit_id is not None  # checked above
            return self.unit_id
        return block_id(self.persona_id, self.at)


class Selected(Out):
    """`steered`: a policy or a promotion chose; send it along with what is observed, so that verdicts leave it out."""

    variant_id: str
    unit_id: str
    policy: str
    steered: bool
    promoted: bool


@router.post("/select", response_model=Selected)
def select_variant(unit: Unit, once: OnceDep, _: Editor) -> JSONResponse:
    """The same unit always gets the same variant, in every process, until a winner is promoted."""

    def write(connection: Connection) -> Reply:
        found = select(connection, allocation.Unit(unit.experiment_id, unit.name(), unit.seed))
        return Reply(200, Selected.model_validate(found), {})

    return once(write)


@router.get("")
def list_variants(paging: PagingDep, engine: EngineDep, _: Viewer, experiment_id: Name | None = None) -> Page[Variant]:
    window = paging.window(db.BY_ID)
    with engine.connect() as connection:
        rows = db.search(connection, experiment_id, window)
    return page_of(Variant, rows, db.BY_ID, window)


EXPORTED = (
    "variant_id", "hook", "is_control", "impressions", "successes", "steered_impressions", "steered_successes",
    "mean_performance", "ci_low", "ci_high", "confidence_level", "last_used", "run_id", "code_version",
)  # fmt: skip


@router.get("/export", response_class=StreamingResponse)
def export(
    engine: EngineDep, _: Viewer, format: Format = "csv", experiment_id: Name | None = None
) -> StreamingResponse:
    """All variants with their experiments and figures as one file of any length (JSON: an array)."""
    columns = ("experiment_id", *EXPORTED)
    return streamed(engine, lambda one: db.export(one, experiment_id), Variant, columns, "variants", format)


@router.post("", status_code=201, response_model=Variant)
def create_variant(new: NewVariant, once: OnceDep, _: Editor) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        if new.experiment_id is not None:
            _must_be_draft(connection, new.experiment_id)
        try:
            db.add(connection, new.model_dump())
        except IntegrityError as error:
            raise Conflict(f"there is a variant {new.variant_id!r} already") from error
        row = db.find(connection, new.variant_id)
        assert row is not None  # added above
        return Reply(201, Variant.model_validate(dict(row)), {})

    return once(write)


def _must_be_draft(connection: Connection, experiment_id: str) -> None:
    experiment = experiments.find(connection, experiment_id)
    if experiment is None:
        raise InvalidInput(f"there is no experiment {experiment_id!r}", field="experiment_id")
    if experiment["status"] != "draft":
        raise Conflict(f"the experiment {experiment_id!r} is {experiment['status']}: its variants are fixed")


@router.post("/{variant_id}/performance", response_model=Recorded)
def record_performance(variant_id: Annotated[Name, Path()], batch: Batch, once: OnceDep, _: Editor) -> JSONResponse:
    now = datetime.now(UTC)
    observed = [
        db.Observation(
            one.event_id, one.impressions, one.successes, one.observed_at or now, one.steered, one.guardrails
        )
        for one in batch.observations
    ]

    def write(connection: Connection) -> Reply:
        new = record(connection, variant_id, observed)
        return Reply(200, Recorded(variant_id=variant_id, recorded=new, duplicates=len(observed) - new), {})

    return once(write)
