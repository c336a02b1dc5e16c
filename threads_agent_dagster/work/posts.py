"""Tasks become posts: one post per content.generation task, never generated twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from threads_agent_dagster.db import posts as db
from threads_agent_dagster.db import tasks
from threads_agent_dagster.db.posts import ContentTask
from threads_agent_dagster.domain.posts import Draft, compose, hook_style
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work.drain import Failure, Job, Origin

ASSET = "posts"
CODE_VERSION = "1"  # raise it when the same input gives other rows: history is then stale
DEFAULT_PERSONA = "default"


@dataclass(frozen=True, slots=True)
class Composed:
    """A draft with the task that asked for it."""

    task: ContentTask
    draft: Draft

    @property
    def variant_id(self) -> str:
        """The hook variant that was used, e.g. `hook:question`."""
        return f"hook:{self.draft.style}"


def job(code_version: str = CODE_VERSION) -> Job[list[ContentTask], Composed]:
    """How `posts` is made."""
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: db.read_tasks(connection, [row.key for row in rows]),
        compute=compose_all,
        store=store,
        stale=db.STALE,
        claimed=tasks.begin,
        dead=tasks.fail,
    )


def compose_all(waiting: Sequence[ContentTask]) -> Mapping[str, Composed | Failure]:
    """Pending key → post, or why the task's payload makes none."""
    return {task.key: _compose(task) for task in waiting}


def _compose(task: ContentTask) -> Composed | Failure:
    payload = task.payload
    try:
        draft = compose(str(payload.get("topic", "")), payload.get("original_input"), hook_style(str(task.task_id)))
    except InvalidInput as error:
        return Failure(f"payload.{error}")
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
        "persona_id": task.payload.get("persona_id") or DEFAULT_PERSONA,
        "hook": draft.hook,
        "body": draft.body,
        "tokens_used": draft.tokens_used,
        "ts": task.created_at,
        "original_input": task.payload.get("original_input"),
        "metadata": {"topic": task.payload["topic"]},
        "task_id": task.task_id,
        "variant_id": made.variant_id,
        "import_id": task.import_id,
        "generator": draft.generator,
        "run_id": origin.run_id,
        "code_version": origin.code_version,
    }
