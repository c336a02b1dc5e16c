"""POST /task and GET /tasks/{id}: asking for work and seeing what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy import Connection

from threads_agent_dagster.api.bodies import Id, In, Line, LongText, Name, Out, SmallId, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep, OnceDep, Reply
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import tasks
from threads_agent_dagster.db.pending import Priority
from threads_agent_dagster.errors import NotFound
from threads_agent_dagster.work.tasks import accept

router = APIRouter(tags=["tasks"], route_class=StrictRoute)


class ContentPayload(In):
    topic: Line
    persona_id: Annotated[Name, Field(max_length=50)] = "default"
    original_input: LongText | None = None


class EmotionPayload(In):
    post_id: Id


class AchievementPayload(In):
    achievement_id: SmallId


class TaskMetadata(In):
    priority: Literal["high", "medium", "low"] = "medium"


class ContentTaskIn(In):
    type: Literal["content.generation"]
    payload: ContentPayload
    metadata: TaskMetadata = TaskMetadata()


class EmotionTaskIn(In):
    type: Literal["emotion.analysis"]
    payload: EmotionPayload
    metadata: TaskMetadata = TaskMetadata()


class AchievementTaskIn(In):
    type: Literal["achievement.analysis"]
    payload: AchievementPayload
    metadata: TaskMetadata = TaskMetadata()


TaskIn = Annotated[ContentTaskIn | EmotionTaskIn | AchievementTaskIn, Field(discriminator="type")]


class TaskAccepted(Out):
    id: int
    type: str
    status: Literal["queued"]
    priority: str
    created_at: datetime


class TaskOut(Out):
    """`error` is the latest failure, also while further attempts are due; `result` names what the task made."""

    id: int
    type: str
    status: str
    priority: str
    payload: dict[str, Any]
    error: str | None
    retry_count: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    result: dict[str, int] | None


@router.post("/task", status_code=202, response_model=TaskAccepted)
def queue_task(task: TaskIn, once: OnceDep, _: Editor) -> JSONResponse:
    priority = Priority[task.metadata.priority.upper()]

    def write(connection: Connection) -> Reply:
        task_id, created_at = accept(connection, task.type, task.payload.model_dump(exclude_none=True), priority)
        accepted = TaskAccepted(
            id=task_id, type=task.type, status="queued", priority=task.metadata.priority, created_at=created_at
        )
        return Reply(202, accepted, {"Location": f"/tasks/{task_id}"})

    return once(write)


@router.get("/tasks/{task_id}", response_model=TaskOut)
def get_task(task_id: Annotated[Id, Path()], engine: EngineDep, _: Viewer) -> TaskOut:
    with engine.connect() as connection:
        task = tasks.find(connection, task_id)
    if task is None:
        raise NotFound(f"there is no task {task_id}")
    return TaskOut(
        id=task.id,
        type=task.type,
        status=task.status,
        priority=Priority(task.priority).name.lower(),
        payload=dict(task.payload),
        error=task.error,
        retry_count=task.retry_count,
        created_at=task.created_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
        result=_result(task),
    )


def _result(task: tasks.Task) -> dict[str, int] | None:
    if task.status != "completed":
        return None
    if task.post_id is not None:
        return {"post_id": task.post_id}
    return {name: task.payload[name] for name in ("post_id", "achievement_id") if name in task.payload}
