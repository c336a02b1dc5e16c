"""GET /dead-letters, POST /dead-letters/redrive."""

from __future__ import annotations

from datetime import date

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from threads_agent_dagster.db import pending
from threads_agent_dagster.work import posts
from threads_agent_dagster.work.drain import Origin, drain

TASK = "INSERT INTO tasks (id, type, payload) VALUES (1, 'content.generation', '{}')"


@pytest.fixture
def dead(engine: Engine) -> None:
    """A task about nothing, and two rows that were given up before it."""
    with engine.begin() as connection:
        connection.execute(text(TASK))
        pending.mark(connection, "posts", [("task:1", date(2026, 1, 2))])
    assert drain(engine, posts.job(), None, Origin("run", "1")).dead == 1
    with engine.begin() as connection:
        pending.mark(connection, "achievements", [("commit:1", date(2026, 1, 1)), ("commit:2", date(2026, 1, 1))])
        given_up = "UPDATE pending SET dead_at = '2026-01-01', error = 'no', attempts = 5 WHERE asset = 'achievements'"
        connection.execute(text(given_up))


def _task(client: TestClient) -> tuple[str, str | None]:
    task = client.get("/tasks/1").json()
    return task["status"], task["error"]


@pytest.mark.usefixtures("dead")
def test_what_was_given_up_is_listed_with_its_error(client: TestClient) -> None:
    (row,) = client.get("/dead-letters", params={"asset": "posts"}).json()["items"]
    assert (row["asset"], row["key"], row["day"]) == ("posts", "task:1", "2026-01-02")
    assert row["error"] == _task(client)[1]


@pytest.mark.usefixtures("dead")
def test_the_list_has_pages_newest_first(client: TestClient) -> None:
    first = client.get("/dead-letters", params={"per_page": 2}).json()
    second = client.get("/dead-letters", params={"per_page": 2, "cursor": first["next"]}).json()
    assert [row["key"] for row in first["items"] + second["items"]] == ["task:1", "commit:2", "commit:1"]
    assert second["next"] is None


@pytest.mark.usefixtures("dead")
def test_a_redriven_task_is_queued_again(client: TestClient) -> None:
    assert _task(client)[0] == "failed"
    assert client.post("/dead-letters/redrive", json={"asset": "posts", "key": "task:1"}).json() == {"revived": 1}
    assert _task(client) == ("queued", None)
    assert [row["key"] for row in client.get("/dead-letters").json()["items"]] == ["commit:2", "commit:1"]


@pytest.mark.usefixtures("dead")
def test_everything_can_be_redriven_at_once_and_is_claimable(client: TestClient, engine: Engine) -> None:
    assert client.post("/dead-letters/redrive", json={}).json() == {"revived": 3}
    assert client.get("/dead-letters").json() == {"items": [], "next": None}
    with engine.connect() as connection:
        assert sum(one.rows for one in pending.waiting(connection) if one.asset != "alerts") == 3


def test_nothing_dead_is_an_empty_list(client: TestClient) -> None:
    assert client.get("/dead-letters").json() == {"items": [], "next": None}
    assert client.post("/dead-letters/redrive", json={}).json() == {"revived": 0}
