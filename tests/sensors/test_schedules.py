"""What happens by the clock, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine, event, text

from assets.pull_requests import pull_requests
from resources.database import Database
from sensors.schedules import github_sync, metrics_refresh
from tests.github_server import TOKEN, Pull, running
from threads_agent_dagster.db import github, metrics

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


@pytest.fixture(autouse=True)
def _on_this_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)


def _connect(engine: Engine) -> None:
    with engine.begin() as connection:
        github.connect(connection, "acme/shop", None, None)


def test_nothing_runs_while_nothing_is_connected(engine: Engine) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with engine.connect() as connection:
        assert not github.any_connected(connection)
    assert len(statements) == 1, "one small query"
    tick = github_sync.evaluate_tick(dg.build_schedule_context())
    assert tick.run_requests == []
    assert tick.skip_message == "no GitHub repository is connected"
    _connect(engine)
    assert len(github_sync.evaluate_tick(dg.build_schedule_context()).run_requests or []) == 1


def test_a_run_collects_what_was_merged_and_says_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as (server, url):
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.setenv("GITHUB_API_URL", url)
        _connect(engine)
        server.add("acme/shop", Pull(1, "feat: sell", at=datetime.now(UTC) + timedelta(minutes=1)))
        done = dg.materialize([pull_requests], resources={"database": Database()})
    (made,) = done.asset_materializations_for_node("pull_requests")
    figures = {
        name: made.metadata[name].value for name in ("repositories", "listed", "read", "redelivered", "failures")
    }
    assert figures == {"repositories": 1, "listed": 1, "read": 1, "redelivered": 0, "failures": ""}
    assert all(check.passed for check in done.get_asset_check_evaluations())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT key FROM pending")).scalars().all() == ["pull:1"]


def test_a_run_without_a_token_says_what_is_missing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    _connect(engine)
    done = dg.materialize([pull_requests], resources={"database": Database()})
    (broken,) = [one for one in done.get_asset_check_evaluations() if not one.passed]
    assert broken.check_name == "every_connected_repository_answers"
    assert "GITHUB_TOKEN" in str(broken.metadata["samples"].value)
