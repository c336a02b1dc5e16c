"""Accepting tasks: what one transaction stores, and which asset it makes work for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection

from threads_agent_dagster.db import pending, tasks
from threads_agent_dagster.errors import InvalidInput

Payload = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskType:
    """`day_of` is the partition of the task's work; it raises InvalidInput when the payload names what is not there."""

    asset: str
    day_of: Callable[[Connection, Payload, datetime], date]


def _content_day(connection: Connection, payload: Payload, created_at: datetime) -> date:
    if not tasks.persona_exists(connection, payload["persona_id"]):
        raise InvalidInput(f"there is no persona {payload['persona_id']!r}", field="payload.persona_id")
    return created_at.astimezone(UTC).date()


def _post_day(connection: Connection, payload: Payload, _: datetime) -> date:
    day = tasks.post_day(connection, payload["post_id"])
    if day is None:
        raise InvalidInput(f"there is no post {payload['post_id']}", field="payload.post_id")
    return day


def _achievement_day(connection: Connection, payload: Payload, _: datetime) -> date:
    day = tasks.achievement_day(connection, payload["achievement_id"])
    if day is None:
        raise InvalidInput(
            f"there is no completed achievement {payload['achievement_id']}", field="payload.achievement_id"
        )
    return day


TASK_TYPES: Mapping[str, TaskType] = {
    "content.generation": TaskType("posts", _content_day),
    "emotion.analysis": TaskType("emotion_trajectories", _post_day),
    "achievement.analysis": TaskType("achievements", _achievement_day),
}


def accept(connection: Connection, type_: str, payload: Payload, priority: int) -> tuple[int, datetime]:
    """Stores the task and marks its work; returns its id and when it was created. Raises InvalidInput."""
    task_type = TASK_TYPES[type_]
    task_id, created_at = tasks.insert(connection, type_, payload, priority)
    day = task_type.day_of(connection, payload, created_at)
    pending.mark(connection, task_type.asset, [(f"task:{task_id}", day)], priority)
    return task_id, created_at
