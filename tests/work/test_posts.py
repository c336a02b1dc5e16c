"""One post per task, composed once, with its variant and its provenance."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.db.pending import Days, Priority
from threads_agent_dagster.work import posts, tasks
from threads_agent_dagster.work.backfills import begin
from threads_agent_dagster.work.drain import Drained, Origin, drain

ORIGIN = Origin("run-1", posts.CODE_VERSION)


def _ask(engine: Engine, **payload: Any) -> int:
    with engine.begin() as connection:
        body = {"topic": "We shipped it", "persona_id": "default"} | payload
        return tasks.accept(connection, "content.generation", body, Priority.MEDIUM)[0]


def _drain(engine: Engine) -> Drained:
    return drain(engine, posts.job(), None, ORIGIN)


def _all(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


def test_a_task_becomes_one_post_with_its_origin(engine: Engine) -> None:
    task_id = _ask(engine, original_input="First it failed. Then it worked.")
    assert _drain(engine).stored == 1
    (post,) = _all(engine, "SELECT * FROM posts")
    assert (post.task_id, post.run_id, post.code_version) == (task_id, "run-1", posts.CODE_VERSION)
    assert "We shipped it" in post.hook
    assert post.body == "First it failed.\n\nThen it worked."
    assert post.generator == "composer@1"
    (task,) = _all(engine, "SELECT * FROM tasks")
    assert (task.status, task.retry_count) == ("completed", 1)
    assert task.created_at <= task.started_at <= task.completed_at
    assert post.ts == task.created_at, "the post belongs to the day of its task"


def test_the_hook_variant_is_registered_without_any_claim(engine: Engine) -> None:
    _ask(engine)
    _drain(engine)
    (post,) = _all(engine, "SELECT * FROM posts")
    (variant,) = _all(engine, "SELECT * FROM variants")
    assert post.variant_id == variant.variant_id
    assert variant.dimensions == {"hook_style": variant.variant_id.removeprefix("hook:")}
    assert _all(engine, "SELECT key FROM pending WHERE asset = 'variant_performance'")


def test_text_is_never_generated_again(engine: Engine) -> None:
    _ask(engine)
    _drain(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE posts SET hook = 'Edited by a person'"))
    today = datetime.now(UTC).date()
    assert begin(engine, posts.job(), Days(date(2020, 1, 1), today), "all", force=True, lease=0) == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE tasks SET status = 'queued'"))
        connection.execute(
            text("INSERT INTO pending (asset, key, day) SELECT 'posts', 'task:' || id, now() FROM tasks")
        )
    _drain(engine)
    assert [post.hook for post in _all(engine, "SELECT hook FROM posts")] == ["Edited by a person"]


def test_a_backfill_makes_what_is_missing(engine: Engine) -> None:
    _ask(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM pending"))
    today = datetime.now(UTC).date()
    assert begin(engine, posts.job(), Days(today, today), "today", force=False, lease=0) == 1
    assert _drain(engine).stored == 1


def test_a_task_that_makes_no_post_fails_with_the_field_named(engine: Engine) -> None:
    _ask(engine, topic="   ")
    assert _drain(engine).dead == 1
    (task,) = _all(engine, "SELECT * FROM tasks")
    assert (task.status, task.error_message) == ("failed", "payload.topic: must not be empty")


@pytest.mark.parametrize("persona", ["nobody", "x' OR true --"])
def test_an_unknown_persona_is_refused_at_the_door(engine: Engine, persona: str) -> None:
    with pytest.raises(Exception, match=r"payload\.persona_id"):
        _ask(engine, persona_id=persona)
    assert _all(engine, "SELECT * FROM tasks") == []
