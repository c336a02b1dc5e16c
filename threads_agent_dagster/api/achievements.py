"""/achievements/: the list, one with its rules, and what people write, correct and take away."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AliasPath, Field, HttpUrl, field_validator
from sqlalchemy import Connection, RowMapping

from threads_agent_dagster.api.bodies import (
    Day,
    In,
    Line,
    LongText,
    Moment,
    Name,
    Out,
    Page,
    Score,
    SearchText,
    SmallId,
    StrictRoute,
)
from threads_agent_dagster.api.dependencies import CacheDep, EngineDep, IfMatch, OnceDep, Reply, check_version, etag
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Admin, Editor, Viewer
from threads_agent_dagster.db import achievements as db
from threads_agent_dagster.db import pending
from threads_agent_dagster.db.pages import Order
from threads_agent_dagster.db.tables import achievements as table
from threads_agent_dagster.domain.achievements import CATEGORIES, SOURCE_TYPES
from threads_agent_dagster.domain.changes import utc_day
from threads_agent_dagster.domain.embeddings import NEAR_DUPLICATE
from threads_agent_dagster.errors import InvalidInput, NotFound
from threads_agent_dagster.work import embeddings

router = APIRouter(prefix="/achievements", tags=["achievements"], route_class=StrictRoute)

Category = StrEnum("Category", {name.upper(): name for name in CATEGORIES})  # type: ignore[misc]
SourceType = StrEnum("SourceType", {name.upper(): name for name in SOURCE_TYPES})  # type: ignore[misc]
Sort = Literal[
    "completed_at", "-completed_at", "impact_score", "-impact_score", "complexity_score", "-complexity_score",
    "created_at", "-created_at", "display_priority", "-display_priority", "title", "-title",
]  # fmt: skip

SEARCHED = "words that are all in the title, description, repository or author, in part and in any case"


class Listed(Out):
    """An achievement as lists show it; scores are null until it was scored."""

    id: int
    title: str
    category: str
    source_type: str
    source_url: str | None
    repository: str | None
    author_name: str | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_hours: float | None
    impact_score: float | None
    complexity_score: float | None
    time_saved_hours: float | None
    performance_improvement_pct: float | None
    portfolio_ready: bool
    portfolio_section: str | None
    display_priority: int


class SetAside(Out):
    """What a person wrote on an achievement that turned out to be of the same change, where a later edit says else."""

    field: str
    value: str | int | None
    edited_by: str | None
    edited_at: datetime | None


class Achievement(Listed):
    """The whole achievement, with where its figures come from."""

    description: str | None
    business_value: Any
    skills: Any
    source_key: str
    source_id: str | None
    merge_sha: str | None
    author_email: str | None
    author_login: str | None
    linkedin_post_id: str | None
    linkedin_published_at: datetime | None
    scorer_version: str | None
    run_id: str | None
    code_version: str | None
    created_at: datetime
    updated_at: datetime
    edited_fields: list[str]
    edited_at: datetime | None
    edited_by: str | None
    set_aside: list[SetAside] = Field(default=[], validation_alias=AliasPath("metadata_json", "set_aside"))


class Explanation(Out):
    """Why the scores are what they are: each is the sum of its rules' points. Null until it was scored."""

    id: int
    impact_score: float | None
    impact_rules: list[dict[str, Any]] | None
    complexity_score: float | None
    complexity_rules: list[dict[str, Any]] | None
    scorer_version: str | None
    run_id: str | None


class Near(Listed):
    """An achievement like another: `similarity` is the cosine of their vectors, at most 1."""

    similarity: float
    near_duplicate: bool


class SimilarOnes(Out):
    """What is like an achievement, the nearest first. All null until it has its vector."""

    id: int
    model: str | None
    items: list[Near] | None


class Written(In):
    """What a person may set; a field that is left out stays as it is."""

    title: Annotated[Line, Field(max_length=255)] | None = None
    description: LongText | None = None
    category: Category | None = None
    started_at: Moment | None = None
    completed_at: Moment | None = None
    source_url: Annotated[HttpUrl, Field(max_length=500)] | None = None
    portfolio_ready: Annotated[bool, Field(strict=True)] | None = None
    portfolio_section: Name | None = None
    display_priority: Annotated[int, Field(ge=0, le=1000, strict=True)] | None = None
    linkedin_post_id: Annotated[Name, Field(max_length=255)] | None = None
    linkedin_published_at: Moment | None = None

    @field_validator("title", "category", "portfolio_ready", "display_priority", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if value is None:
            raise ValueError("it cannot be null")
        return value

    def values(self) -> dict[str, Any]:
        """Column → value of the fields that were given."""
        given = self.model_dump(exclude_unset=True)
        if given.get("source_url") is not None:
            given["source_url"] = str(given["source_url"])
        return given


class NewAchievement(Written):
    """An achievement that nothing collected."""

    title: Annotated[Line, Field(max_length=255)]
    category: Category
    source_type: Literal["manual", "api", "ci"] = "manual"


async def _filter(
    category: Category | None = None,
    source: SourceType | None = None,
    since: Annotated[Day | None, Query(description="completed on this UTC date or later")] = None,
    until: Annotated[Day | None, Query(description="completed on this UTC date or earlier")] = None,
    min_score: Score | None = None,
    max_score: Score | None = None,
    portfolio_ready: bool | None = None,
    q: Annotated[SearchText | None, Query(description=SEARCHED)] = None,
    theme: Annotated[SmallId | None, Query(description="an id of /analytics/themes")] = None,
) -> db.Filter:
    return db.Filter(category, source, since, until, min_score, max_score, portfolio_ready, q, theme)


async def _order(sort: Annotated[Sort, Query(description="- in front: largest first")] = "-completed_at") -> Order:
    return Order(table.c[sort.removeprefix("-")], table.c.id, descending=sort.startswith("-"))


FilterDep = Annotated[db.Filter, Depends(_filter)]
OrderDep = Annotated[Order, Depends(_order)]
AchievementId = Annotated[SmallId, Path()]


@router.get("/", response_model=Page[Listed])
def list_achievements(
    wanted: FilterDep, order: OrderDep, paging: PagingDep, engine: EngineDep, cache: CacheDep, _: Viewer
) -> Response:
    window = paging.window(order)

    def read() -> bytes:
        with engine.connect() as connection:
            rows = db.search(connection, wanted, order, window)
        return page_of(Listed, rows, order, window).model_dump_json().encode()

    key = f"api:achievements:{paging.page}:{paging.per_page}:{order.descending}:{order.column}:{paging.cursor}:{wanted}"
    return Response(cache.answer(key, read), media_type="application/json")


@router.get("/{achievement_id}")
def get_achievement(achievement_id: AchievementId, engine: EngineDep, response: Response, _: Viewer) -> Achievement:
    with engine.connect() as connection:
        row = _found(connection, achievement_id)
    response.headers["ETag"] = etag(row)
    return Achievement.model_validate(dict(row))


@router.get("/{achievement_id}/explain")
def explain(achievement_id: AchievementId, engine: EngineDep, _: Viewer) -> Explanation:
    with engine.connect() as connection:
        return Explanation.model_validate(dict(_found(connection, achievement_id)))


@router.get("/{achievement_id}/similar")
def similar(
    achievement_id: AchievementId,
    engine: EngineDep,
    _: Viewer,
    min_similarity: Annotated[float, Query(ge=-1, le=1, allow_inf_nan=False)] = 0.5,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> SimilarOnes:
    with engine.connect() as connection:
        _found(connection, achievement_id)
        found = embeddings.similar(connection, achievement_id, at_least=min_similarity, limit=limit)
    if found is None:
        return SimilarOnes(id=achievement_id, model=None, items=None)
    items = [Near.model_validate({**row, "near_duplicate": row["similarity"] >= NEAR_DUPLICATE}) for row in found.rows]
    return SimilarOnes(id=achievement_id, model=found.model, items=items)


@router.post("/", status_code=201, response_model=Achievement)
def create(written: NewAchievement, once: OnceDep, caller: Editor) -> JSONResponse:
    values = written.values() | {"source_type": written.source_type}
    _check_chronology(values)

    def write(connection: Connection) -> Reply:
        edited = [name for name in db.EDITABLE if name in values]
        author = {"edited_by": caller.name, "edited_at": datetime.now(UTC), "edited_fields": edited}
        achievement_id = db.insert_written(connection, values | author)
        return _stored(connection, achievement_id, 201, {"Location": f"/achievements/{achievement_id}"})

    return once(write)


@router.put("/{achievement_id}", response_model=Achievement)
def update(
    achievement_id: AchievementId, written: Written, once: OnceDep, caller: Editor, if_match: IfMatch = None
) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        row = _found(connection, achievement_id, lock=True)
        check_version(row, if_match)
        values = written.values()
        _check_chronology({**row, **values})
        edited = {*row["edited_fields"], *(name for name in db.EDITABLE if name in values)}
        author = {"edited_by": caller.name, "edited_at": datetime.now(UTC), "edited_fields": sorted(edited)}
        db.edit(connection, achievement_id, values | author)
        return _stored(connection, achievement_id, 200, {})

    return once(write)


@router.delete("/{achievement_id}", status_code=204)
def delete(
    achievement_id: AchievementId, engine: EngineDep, cache: CacheDep, _: Admin, if_match: IfMatch = None
) -> None:
    with engine.begin() as connection:
        check_version(_found(connection, achievement_id, lock=True), if_match)
        db.edit(connection, achievement_id, {"deleted_at": datetime.now(UTC)})
    cache.forget()


@router.post("/{achievement_id}/restore", response_model=Achievement)
def restore(achievement_id: AchievementId, once: OnceDep, _: Editor) -> JSONResponse:
    """Undoes a deletion."""

    def write(connection: Connection) -> Reply:
        if db.find(connection, achievement_id, deleted=True, lock=True) is None:
            raise NotFound(f"there is no deleted achievement {achievement_id}")
        db.edit(connection, achievement_id, {"deleted_at": None})
        return _stored(connection, achievement_id, 200, {})

    return once(write)


def _found(connection: Connection, achievement_id: int, *, lock: bool = False) -> RowMapping:
    row = db.find(connection, achievement_id, lock=lock)
    if row is None:
        raise NotFound(f"there is no achievement {achievement_id}")
    return row


def _check_chronology(values: Any) -> None:
    started, completed = values.get("started_at"), values.get("completed_at")
    if started is not None and completed is not None and completed < started:
        raise InvalidInput("completed before it was started", field="completed_at")


def _stored(connection: Connection, achievement_id: int, status: int, headers: dict[str, str]) -> Reply:
    """The stored row, which is to be scored if it is completed."""
    row = _found(connection, achievement_id)
    if row["completed_at"] is not None:
        day: date = utc_day(row["completed_at"], datetime.now(UTC))
        pending.mark(connection, "achievements", [(f"achievement:{achievement_id}", day)])
    return Reply(status, Achievement.model_validate(dict(row)), {"ETag": etag(row), **headers})
