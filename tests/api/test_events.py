"""/events and /ws, over real sockets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import Engine, insert, text
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from threads_agent_dagster.api import events
from threads_agent_dagster.api.apps import create_app
from threads_agent_dagster.db import metrics
from threads_agent_dagster.db.tables import achievements
from threads_agent_dagster.settings import Settings

Key = Callable[[str], str]


class Served:
    """The orchestrator on a port of its own."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app("orchestrator", settings)
        self.server = uvicorn.Server(uvicorn.Config(self.app, port=0, log_config=None))
        self.listening = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=[self._serve()], daemon=True)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        startup = self.server.startup

        async def tell(sockets: Any = None) -> None:
            await startup(sockets)
            self.listening.set()

        self.server.startup = tell  # type: ignore[method-assign]
        await self.server.serve()

    @property
    def address(self) -> str:
        host, port = self.server.servers[0].sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def close_feed(self) -> None:
        self.loop.call_soon_threadsafe(self.app.state.feed.close)

    def end(self) -> None:
        """Ends it as a signal does."""
        if self.thread.is_alive():
            self.close_feed()
            self.server.should_exit = True
            self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    served = Served(settings)
    served.thread.start()
    assert served.listening.wait(60)
    yield served
    served.end()


@contextmanager
def _stream(served: Served, key: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Each event as its fields; `data` is decoded."""
    headers = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    with httpx.stream("GET", f"http://{served.address}/events", headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    fields: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            fields[name] = json.loads(value) if name == "data" else value
        elif line == "" and fields.keys() - {""}:
            yield fields
            fields = {}


def _achieve(engine: Engine) -> None:
    row = {"title": "t", "category": "feature", "source_type": "manual", "completed_at": datetime.now(UTC)}
    with engine.begin() as connection:
        connection.execute(insert(achievements), row)
        metrics.refresh(connection, "a run", "1")


def _total(message: dict[str, Any]) -> int:
    assert message["type"] == "metrics"
    return int(message["data"]["total_achievements"])


def test_the_figures_come_at_once_and_again_after_each_refresh(served: Served, engine: Engine, key: Key) -> None:
    with _stream(served, key("viewer")) as stream:
        assert _total(next(stream)["data"]) == 0
        _achieve(engine)
        second = next(stream)
        assert _total(second["data"]) == 1
        _achieve(engine)
        assert _total(next(stream)["data"]) == 2
    summary = httpx.get(f"http://{served.address}/metrics/summary", headers={"X-API-Key": key("viewer")}).json()
    assert second["data"]["data"].keys() == summary.keys()


def test_who_comes_again_is_told_only_what_is_new(served: Served, engine: Engine, key: Key) -> None:
    _achieve(engine)
    with _stream(served, key("viewer")) as stream:
        seen = next(event for event in stream if _total(event["data"]) == 1)
    with _stream(served, key("viewer"), Last_Event_ID=seen["id"]) as stream:
        _achieve(engine)
        assert _total(next(stream)["data"]) == 2


def test_a_rolled_back_refresh_is_not_announced(served: Served, engine: Engine, key: Key) -> None:
    with _stream(served, key("viewer")) as stream:
        assert _total(next(stream)["data"]) == 0
        with engine.connect() as connection:
            metrics.refresh(connection, "a run that fails", "1")
            connection.rollback()
        _achieve(engine)
        assert next(stream)["data"]["data"]["run_id"] == "a run"


def test_a_lost_connection_is_made_again(served: Served, engine: Engine, key: Key) -> None:
    cut = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'threads-agent-dashboard_metrics' AND datname = current_database()"
    )
    with _stream(served, key("viewer")) as stream:
        next(stream)
        with engine.connect() as connection:
            assert connection.execute(cut).scalar_one() == 1
        _achieve(engine)
        assert _total(next(stream)["data"]) == 1


def test_a_stream_ends_after_its_time(served: Served, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAM_SECONDS", 0.5)
    with _stream(served, key("viewer")) as stream:
        assert len(list(stream)) == 1


def test_a_stream_ends_with_the_service(served: Served, key: Key) -> None:
    with _stream(served, key("viewer")) as stream:
        next(stream)
        served.close_feed()
        assert list(stream) == []  # a connection that is torn raises instead


def test_a_stream_needs_a_key(served: Served) -> None:
    answer = httpx.get(f"http://{served.address}/events")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_websocket_brings_the_same_messages(served: Served, engine: Engine, key: Key) -> None:
    _achieve(engine)
    with connect(f"ws://{served.address}/ws", additional_headers={"X-API-Key": key("viewer")}) as socket:
        socket.send("what is said to it means nothing")
        assert _total(json.loads(socket.recv(60))) == 1
        _achieve(engine)
        assert _total(json.loads(socket.recv(60))) == 2
        served.close_feed()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == events.GOING_AWAY


def test_a_websocket_that_its_client_leaves_is_left(served: Served, key: Key) -> None:
    with connect(f"ws://{served.address}/ws", additional_headers={"X-API-Key": key("viewer")}) as socket:
        socket.recv(60)
    served.server.should_exit = True  # and waits for whoever is still connected
    served.thread.join(60)
    assert not served.thread.is_alive()


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "ta_guessed_guessed"}])
def test_a_websocket_needs_a_key(served: Served, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://{served.address}/ws", additional_headers=headers):
        pass
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["content-type"] == "application/problem+json"
