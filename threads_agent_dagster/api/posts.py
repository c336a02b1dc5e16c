"""/content/posts: what was written, and what people made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import model_validator
from sqlalchemy import Connection, RowMapping

from threads_agent_dagster.api.bodies import Day, Id, In, Line, LongText, Name, Out, Page, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep, IfMatch, OnceDep, Reply, check_version, etag
from threads_agent_dagster.api.pages import PagingDep, page_of
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import posts as db
from threads_agent_dagster.db.pages import Order
from threads_agent_dagster.db.tables import posts as table
from threads_agent_dagster.errors import NotFound

router = APIRouter(prefix="/content/posts", tags=["content"], route_class=StrictRoute)


class Post(Out):
    """A post with its origin; `engagement_rate` is null until it was measured."""

    id: int
    persona_id: str
    hook: str
    body: str
    ts: datetime
    engagement_rate: float | None
    tokens_used: int | None
    original_input: str | None
    metadata: dict[str, Any]
    task_id: int | None
    variant_id: str | None
    generator: str | None
    edited_at: datetime | None
    edited_by: str | None
    run_id: str | None
    code_version: str | None


class PostEdit(In):
    """What a person may change; a field that is left out stays as it is."""

    hook: Line | None = None
    body: LongText | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set or None in (getattr(self, name) for name in self.model_fields_set):
            raise ValueError("a hook or a body is expected")
        return self


async def _filter(
    persona_id: Name | None = None,
    variant_id: Name | None = None,
    since: Annotated[Day | None, Query(description="of this UTC date or later")] = None,
    until: Annotated[Day | None, Query(description="of this UTC date or earlier")] = None,
) -> db.Filter:
    return db.Filter(persona_id, variant_id, since, until)


async def _order(sort: Literal["ts", "-ts", "engagement_rate", "-engagement_rate"] = "-ts") -> Order:
    return Order(table.c[sort.removeprefix("-")], table.c.id, descending=sort.startswith("-"))


PostId = Annotated[Id, Path()]


def found(connection: Connection, post_id: int, *, lock: bool = False) -> RowMapping:
    """The post's row. Raises NotFound."""
    row = db.find(connection, post_id, lock=lock)
    if row is None:
        raise NotFound(f"there is no post {post_id}")
    return row


@router.get("")
def list_posts(
    wanted: Annotated[db.Filter, Depends(_filter)],
    order: Annotated[Order, Depends(_order)],
    paging: PagingDep,
    engine: EngineDep,
    _: Viewer,
) -> Page[Post]:
    window = paging.window(order)
    with engine.connect() as connection:
        rows = db.search(connection, wanted, order, window)
    return page_of(Post, rows, order, window)


@router.get("/{post_id}")
def get_post(post_id: PostId, engine: EngineDep, response: Response, _: Viewer) -> Post:
    with engine.connect() as connection:
        row = found(connection, post_id)
    response.headers["ETag"] = etag(row)
    return Post.model_validate(dict(row))


@router.put("/{post_id}", response_model=Post)
def edit_post(post_id: PostId, edit: PostEdit, once: OnceDep, caller: Editor, if_match: IfMatch = None) -> JSONResponse:
    def write(connection: Connection) -> Reply:
        check_version(found(connection, post_id, lock=True), if_match)
        author = {"edited_at": datetime.now(UTC), "edited_by": caller.name}
        db.edit(connection, post_id, edit.model_dump(exclude_unset=True) | author)
        row = found(connection, post_id)
        return Reply(200, Post.model_validate(dict(row)), {"ETag": etag(row)})

    return once(write)
