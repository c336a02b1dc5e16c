"""Tasks become posts: one post per content.generation task, never generated twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from threads_agent_dagster.db import posts as db
from threads_agent_dagster.db import tasks
from threads_agent_dagster.db.posts import ContentTask, Shown
from threads_agent_dagster.domain.hooks import HALF_LIFE_DAYS
from threads_agent_dagster.domain.posts import Draft, compose, tricks
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work.drain import Failure, Job, Origin

ASSET = "posts"
CODE_VERSION = "2"  # raise it when the same input gives other rows: history is then stale
DEFAULT_PERSONA = "default"
VARIANT = "hook:"  # what the id of a hook variant begins with
REMEMBERED_DAYS = 4 * HALF_LIFE_DAYS  # a hook older than that wears nothing any more


Uses = defaultdict[str, float]  # trick → how often it was used lately, an old use counting less


@dataclass(frozen=True, slots=True)
class Composed:
    """A draft with the task that asked for it."""

    task: ContentTask
    draft: Draft

    @property
    def variant_id(self) -> str:
        """The hook variant that was used, e.g. `hook:question`."""
        return f"{VARIANT}{self.draft.style}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Tasks with the hooks that their personas showed lately."""

    tasks: Sequence[ContentTask]
    shown: Sequence[Shown]


def job(code_version: str = CODE_VERSION) -> Job[Asked, Composed]:
    """How `posts` is made."""
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: _load(connection, [row.key for row in rows]),
        compute=compose_all,
        store=store,
        stale=db.STALE,
        claimed=tasks.begin,
        dead=tasks.fail,
    )


def _load(connection: Connection, keys: Sequence[str]) -> Asked:
    waiting = db.read_tasks(connection, keys)
    return Asked(waiting, db.read_shown(connection, sorted({_persona(task) for task in waiting}), REMEMBERED_DAYS))


def _persona(task: ContentTask) -> str:
    return task.payload.get("persona_id") or DEFAULT_PERSONA


def compose_all(asked: Asked) -> Mapping[str, Composed | Failure]:
    """Pending key → post, or why the task's payload makes none; each post wears the tricks of its hook."""
    uses: dict[str, Uses] = {_persona(task): defaultdict(float) for task in asked.tasks}
    for one in asked.shown:
        _wear(uses[one.persona_id], one.hook, (one.variant_id or "").removeprefix(VARIANT), one.age_days)
    return {task.key: _compose(task, uses[_persona(task)]) for task in asked.tasks}


def _wear(uses: Uses, hook: str, style: str, age_days: float) -> None:
    for trick in tricks(hook, style):
        uses[trick] += 0.5 ** (max(age_days, 0.0) / HALF_LIFE_DAYS)


def _compose(task: ContentTask, uses: Uses) -> Composed | Failure:
    payload = task.payload
    try:
        draft = compose(str(payload.get("topic", "")), payload.get("original_input"), str(task.task_id), uses)
    except InvalidInput as error:
        return Failure(f"payload.{error}")
    _wear(uses, draft.hook, draft.style, 0.0)
    return Composed(task, draft)


def store(connection: Connection, results: Mapping[str, Composed], origin: Origin) -> set[str]:
    """Stores posts, the hook variants they use, and the state of their tasks."""
    variants = {made.variant_id: _variant(made) for made in results.values()}
    db.register_variants(connection, list(variants.values()))
    db.store_posts(connection, [_row(made, origin) for made in results.values()])
    tasks.complete(connection, results)
    return set()


def _variant(made: Composed) -> dict[str, Any]:
    dimensions = {"hook_style": made.draft.style}
    return {
        "variant_id": made.variant_id,
        "dimensions": dimensions,
        "is_control": False,
        "import_id": made.task.import_id,
    }


def _row(made: Composed, origin: Origin) -> dict[str, Any]:
    task, draft = made.task, made.draft
    return {
        "persona_id": _persona(task),
        "hook": draft.hook,
        "body": draft.body,
        "tokens_used": draft.tokens_used,
        "ts": task.created_at,
        "original_input": task.payload.get("original_input"),
        "metadata": {"topic": task.payload["topic"], "hook_choice": draft.choice.as_json()},
        "task_id": task.task_id,
        "variant_id": made.variant_id,
        "import_id": task.import_id,
        "generator": draft.generator,
        "run_id": origin.run_id,
        "code_version": origin.code_version,
    }
