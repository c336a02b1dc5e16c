"""A task and its work are one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.db.pending import Priority
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work.tasks import accept

CONTENT = {"topic": "Shipping every day", "persona_id": "nobody"}


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        counted = text("SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM pending)")
        return int(connection.execute(counted).scalar_one())


@pytest.mark.parametrize(
    ("type_", "payload", "field"),
    [
        ("content.generation", CONTENT, "payload.persona_id"),
        ("emotion.analysis", {"post_id": 404}, "payload.post_id"),
        ("achievement.analysis", {"achievement_id": 404}, "payload.achievement_id"),
    ],
)
def test_a_task_about_nothing_is_refused_and_leaves_nothing(
    engine: Engine, type_: str, payload: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused, engine.begin() as connection:
        accept(connection, type_, payload, Priority.MEDIUM)
    assert refused.value.field == field
    assert _count(engine) == 0


def test_an_achievement_without_an_end_has_nothing_to_analyse(engine: Engine) -> None:
    with engine.begin() as connection:
        insert = (
            "INSERT INTO achievements (title, category, source_type) VALUES ('t', 'feature', 'manual') RETURNING id"
        )
        achievement_id = connection.execute(text(insert)).scalar_one()
    before = _count(engine)
    with pytest.raises(InvalidInput), engine.begin() as connection:
        accept(connection, "achievement.analysis", {"achievement_id": achievement_id}, Priority.MEDIUM)
    assert _count(engine) == before
