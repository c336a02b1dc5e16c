"""A kept answer is never one from before a write, whichever process wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, text

from threads_agent_dagster.api.caching import MOST, Cache

OpenApp = Callable[..., TestClient]
NEW = {"title": "Count every request", "category": "feature"}


@pytest.fixture
def cache(database_url: str) -> Iterator[Cache]:
    cache = Cache(database_url)
    assert cache.wait_until_listening(20)
    yield cache
    cache.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _reads(client: TestClient) -> list[str]:
    seen: list[str] = []
    served: Any = client.app
    event.listen(served.state.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    return seen


def test_a_page_is_read_once_and_kept(open_app: OpenApp) -> None:
    client = open_app("achievements", "editor")
    served: Any = client.app
    assert served.state.cache.wait_until_listening(20)
    client.post("/achievements/", json=NEW)
    first = client.get("/achievements/?per_page=5")
    seen = _reads(client)
    again = client.get("/achievements/?per_page=5")
    assert (again.content, again.headers["content-type"]) == (first.content, "application/json")
    assert not [one for one in seen if "FROM achievements" in one]
    other = client.get("/achievements/?per_page=5&category=bugfix").json()
    assert other["items"] == []
    assert [one for one in seen if "FROM achievements" in one]


def test_what_this_process_wrote_is_read_at_once(open_app: OpenApp) -> None:
    client = open_app("achievements", "admin")
    for count in range(1, 6):
        path = client.post("/achievements/", json=NEW).headers["location"]
        assert len(client.get("/achievements/").json()["items"]) == count
        client.put(path, json={"title": "Another"})
        assert client.get("/achievements/").json()["items"][0]["title"] == "Another"
    client.delete(path)
    assert len(client.get("/achievements/").json()["items"]) == 4


def test_what_another_process_wrote_is_read_as_soon_as_it_is_told(open_app: OpenApp, engine: Engine) -> None:
    one, other = open_app("achievements", "editor"), open_app("achievements", "editor")
    for client in (one, other):
        served: Any = client.app
        assert served.state.cache.wait_until_listening(20)
        assert client.get("/achievements/").json()["items"] == []
    one.post("/achievements/", json=NEW)
    _until(lambda: len(other.get("/achievements/").json()["items"]) == 1)
    with engine.begin() as connection:  # a run, or an import
        connection.execute(text("UPDATE achievements SET impact_score = 42"))
    for client in (one, other):
        _until(lambda client=client: client.get("/achievements/").json()["items"][0]["impact_score"] == 42)  # type: ignore[misc]


def test_what_was_read_before_a_write_is_not_kept(cache: Cache) -> None:
    def read_while_somebody_writes() -> bytes:
        cache.forget()
        return b"old"

    assert cache.answer("key", read_while_somebody_writes) == b"old"
    assert cache.answer("key", lambda: b"new") == b"new"
    assert cache.answer("key", lambda: b"newer") == b"new"


def test_a_lost_connection_keeps_nothing(cache: Cache, engine: Engine) -> None:
    cache.answer("key", lambda: b"kept")
    with engine.begin() as connection:
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN written%'"
        assert connection.execute(text(statement)).scalars().all() == [True]
    _until(lambda: cache.answer("key", lambda: b"fresh") == b"fresh")
    assert cache.wait_until_listening(20)


def test_the_least_used_is_forgotten_first(cache: Cache) -> None:
    for number in range(MOST + 1):
        cache.answer(str(number), lambda: b"kept")
        cache.answer("0", lambda: b"lost")
    assert cache.answer("0", lambda: b"lost") == b"kept"
    assert cache.answer("1", lambda: b"lost") == b"lost"
