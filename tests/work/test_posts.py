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
    assert post.generator == "composer@3"
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


def test_the_reason_for_a_hook_is_stored_with_the_post(engine: Engine) -> None:
    for _ in range(3):
        _ask(engine)
    _drain(engine)
    for post in _all(engine, "SELECT * FROM posts"):
        choice = post.metadata["hook_choice"]
        hooks = {one["style"]: one["hook"] for one in choice["candidates"]}
        assert post.hook == hooks[choice["taken"]]
        assert post.variant_id == f"hook:{choice['taken']}"


def test_what_a_persona_showed_lately_wears_its_hooks_within_a_batch_and_before(engine: Engine) -> None:
    def freshness() -> list[float]:
        chosen = _all(
            engine, "SELECT metadata->'hook_choice' AS choice FROM posts WHERE task_id IS NOT NULL ORDER BY id"
        )
        return [min(one["freshness"] for one in row.choice["candidates"]) for row in chosen]

    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO posts (persona_id, hook, body, variant_id, ts)
                    VALUES ('default', 'Old: what changed?', '', NULL, now() - interval '14 days'),
                        ('default', 'Older: what changed?', '', NULL, now() - interval '300 days')""")
        )
    _ask(engine), _ask(engine)
    _drain(engine)
    first, second = freshness()
    assert first == pytest.approx(1 / 1.5, rel=0.01), "one use, a half-life old"
    assert second <= first


def test_another_personas_hooks_wear_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO personas (id, name, voice) VALUES ('other', 'o', 'v')"))
        connection.execute(
            text("INSERT INTO posts (persona_id, hook, body) VALUES ('other', 'What changed?', '')"),
        )
    _ask(engine)
    _drain(engine)
    (row,) = _all(engine, "SELECT metadata->'hook_choice' AS choice FROM posts WHERE task_id IS NOT NULL")
    assert {one["freshness"] for one in row.choice["candidates"]} == {1.0}


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
