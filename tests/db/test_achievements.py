"""The search of achievements: served by its index, and as well without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.dialects import postgresql

from threads_agent_dagster.db.achievements import Filter, holds_words, search
from threads_agent_dagster.db.pages import Order, Window, paged
from threads_agent_dagster.db.tables import achievements

ROWS = 3_000
NEWEST = Order(achievements.c.completed_at, achievements.c.id)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Over many achievements, which the planner knows; nothing of it stays."""
    rows = [
        {
            "title": f"Ship part {number}",
            "description": "What it does. " * 50,
            "category": "feature",
            "source_type": "git",
        }
        for number in range(ROWS)
    ]
    with engine.connect() as connection:
        connection.execute(insert(achievements), rows)
        connection.execute(text("SELECT gin_clean_pending_list('idx_achievements_search')"))  # as VACUUM does
        connection.execute(text("ANALYZE achievements"))
        yield connection
        connection.rollback()


def _found(connection: Connection, words: str) -> list[str]:
    return sorted(row["title"] for row in search(connection, Filter(text=words), NEWEST, Window(10)))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


def test_a_page_of_the_rows_that_hold_the_words_is_read_from_the_index(connection: Connection) -> None:
    page = paged(select(achievements.c.id).where(holds_words("PART 2777")), NEWEST, Window(100))
    statement = page.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    (plan,) = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}".replace(":", r"\:"))).scalar_one()
    scans = {node.get("Index Name"): node for node in _nodes(plan["Plan"]) if "Scan" in node["Node Type"]}
    assert scans["idx_achievements_search"]["Actual Rows"] < 10, "of 3,000"
    assert "Seq Scan" not in {node["Node Type"] for node in scans.values()}


def test_without_the_extension_the_same_is_found(connection: Connection) -> None:
    found = _found(connection, "ship 2777")
    assert found == ["Ship part 2777"]
    connection.execute(text("DROP EXTENSION pg_trgm CASCADE"))
    assert _found(connection, "ship 2777") == found
