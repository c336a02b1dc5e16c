"""What happens by the clock, and what does not."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from sensors.schedules import metrics_refresh
from threads_agent_dagster.db import metrics

POST = "INSERT INTO posts (persona_id, hook, body, ts) VALUES ('default', 'A hook', '', now())"


@pytest.fixture
def asks(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether a tick asks for a run."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return lambda: bool(metrics_refresh.evaluate_tick(dg.build_schedule_context()).run_requests)


def _refresh(engine: Engine) -> None:
    with engine.begin() as connection:
        metrics.refresh(connection, None, "1")


def _execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_the_figures_are_refreshed_after_a_change_and_not_without_one(engine: Engine, asks: Callable[[], bool]) -> None:
    assert asks()  # they never were
    _refresh(engine)
    assert not asks()
    _execute(engine, POST)
    assert asks()
    _refresh(engine)
    _execute(engine, "DELETE FROM posts")
    assert asks()


def test_figures_that_nobody_looked_at_for_an_hour_are_due(engine: Engine, asks: Callable[[], bool]) -> None:
    _refresh(engine)
    _execute(engine, "UPDATE dashboard_refreshes SET refreshed_at = now() - interval '61 minutes'")
    assert asks()
