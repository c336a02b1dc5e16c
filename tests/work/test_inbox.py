"""A delivery and its work are one transaction; its day is that of the event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.work.inbox import Accepted, Delivery, accept

RECEIVED = datetime(2026, 3, 4, 23, 59, tzinfo=UTC)


def _merged(merged_at: str, number: int = 1) -> dict[str, Any]:
    pull = {"number": number, "title": "feat: count", "merged": True, "merged_at": merged_at, "user": {"login": "ada"}}
    return {"action": "closed", "pull_request": pull, "repository": {"full_name": "ada/engine"}}


def _delivery(payload: dict[str, Any], delivery_id: str = "d1") -> Delivery:
    return Delivery(delivery_id, "pull_request", json.dumps(payload).encode(), payload, {}, RECEIVED)


def _rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


@pytest.mark.parametrize(
    ("merged_at", "day"),
    [
        ("2026-01-01T23:30:00-02:00", "2026-01-02"),
        ("1970-01-01T00:00:00Z", "2026-03-04"),
        ("2026-03-05T00:00:00Z", "2026-03-04"),
        ("not a time", "2026-03-04"),
    ],
)
def test_the_day_is_the_events_or_that_of_receipt(engine: Engine, merged_at: str, day: str) -> None:
    with engine.begin() as connection:
        accepted = accept(connection, _delivery(_merged(merged_at)))
    found = "SELECT 'inbox:' || inbox.id, inbox.day::text, pending.day::text FROM inbox, pending"
    assert _rows(engine, found) == [(f"inbox:{accepted.id}", day, day)]


def test_what_is_rolled_back_leaves_neither_row_nor_work(engine: Engine) -> None:
    with engine.connect() as connection:
        accept(connection, _delivery(_merged("2026-01-02T00:00:00Z")))
        connection.rollback()
    assert _rows(engine, "SELECT 1 FROM inbox UNION ALL SELECT 1 FROM pending") == []


def test_a_duplicate_tells_what_became_of_the_first(engine: Engine) -> None:
    delivery = _delivery(_merged("2026-01-02T00:00:00Z"))
    with engine.begin() as connection:
        first = accept(connection, delivery)
        connection.execute(text("UPDATE inbox SET status = 'processed'"))
        connection.execute(text("DELETE FROM pending"))
    with engine.begin() as connection:
        again = accept(connection, delivery)
    assert again == Accepted(first.id, "processed", None, duplicate=True)
    assert _rows(engine, "SELECT key FROM pending") == []


def test_another_pull_request_is_another_delivery(engine: Engine) -> None:
    for number in (1, 2):
        with engine.begin() as connection:
            assert not accept(connection, _delivery(_merged("2026-01-02T00:00:00Z", number), f"d{number}")).duplicate
    assert len(_rows(engine, "SELECT key FROM pending")) == 2
