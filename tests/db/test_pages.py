"""A page costs the same wherever it is."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, select, text
from sqlalchemy.dialects import postgresql

from threads_agent_dagster.db.pages import Order, Window, paged
from threads_agent_dagster.db.tables import achievements


def test_a_later_page_starts_in_the_index_where_the_one_before_ended(engine: Engine) -> None:
    order = Order(achievements.c.completed_at, achievements.c.id)
    page = paged(select(achievements.c.id), order, Window(100, after=(datetime(2026, 1, 2, tzinfo=UTC), 7)))
    statement = page.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.execute(text(f"EXPLAIN {statement}".replace(":", r"\:"))).scalars())
    assert "Index Cond: (completed_at <= " in plan
