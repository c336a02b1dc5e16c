"""/events and /ws: the business figures, sent at once and again after each refresh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, FastAPI, Header, Request, WebSocket, WebSocketDisconnect
from fastapi.sse import EventSourceResponse, ServerSentEvent
from psycopg import OperationalError
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from threads_agent_dagster.api.bodies import Out
from threads_agent_dagster.api.metrics import Summary
from threads_agent_dagster.api.problems import DATABASE_DOWN
from threads_agent_dagster.api.security import Viewer
from threads_agent_dagster.db import metrics as db
from threads_agent_dagster.db.listening import notices

PATIENCE_SECONDS = 15.0  # without a notification; then the figures are read all the same
RETRY_SECONDS = 1.0
STREAM_SECONDS = 600.0  # then the caller comes again, with a key that may have been revoked meanwhile
GOING_AWAY = 1001  # RFC 6455, 7.4.1

logger = logging.getLogger(__name__)


class Message(Out):
    """What both ways of following send."""

    type: Literal["metrics"] = "metrics"
    data: Summary

    @property
    def id(self) -> str:
        """Differs from refresh to refresh."""
        return self.data.refreshed_at.isoformat() if self.data.refreshed_at else "never"


class Feed:
    """The newest message, for everybody who follows; who is slow misses those between."""

    def __init__(self) -> None:
        self._newest: Message | None = None
        self._moved = asyncio.Event()
        self._closed = False

    def publish(self, message: Message) -> None:
        self._newest = message
        self._wake()

    def close(self) -> None:
        """Ends every stream."""
        self._closed = True
        self._wake()

    async def follow(self, seen: str | None = None) -> AsyncIterator[Message]:
        """The newest message unless its id is `seen`, then every newer one, for STREAM_SECONDS."""
        until = asyncio.get_running_loop().time() + STREAM_SECONDS
        while not self._closed:
            moved, newest = self._moved, self._newest
            if newest is not None and newest.id != seen:
                seen = newest.id
                yield newest
            elif not await _happens(moved, until):
                return

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


async def _happens(event: asyncio.Event, until: float) -> bool:
    try:
        async with asyncio.timeout_at(until):
            return await event.wait()
    except TimeoutError:
        return False


async def _watch(engine: Engine, feed: Feed) -> None:
    """Reads the figures whenever they are refreshed; for ever."""
    while True:
        try:
            async for _ in notices(engine.url, db.CHANNEL, PATIENCE_SECONDS):
                feed.publish(await run_in_threadpool(_read, engine))
        except (OperationalError, *DATABASE_DOWN) as error:
            logger.warning("the figures cannot be followed, trying again: %s", type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)


def _read(engine: Engine) -> Message:
    with engine.connect() as connection:
        return Message(data=Summary.model_validate(dict(db.summary(connection))))


@asynccontextmanager
async def _watching(app: FastAPI) -> AsyncIterator[None]:
    watcher = asyncio.create_task(_watch(app.state.engine, app.state.feed))
    try:
        yield
    finally:
        watcher.cancel()


router = APIRouter(tags=["metrics"], lifespan=_watching)


@router.get("/events", response_class=EventSourceResponse)
async def events(
    request: Request, _: Viewer, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> AsyncIterator[ServerSentEvent]:
    """The figures as server-sent events. A stream ends after 10 minutes; come again with the Last-Event-ID."""
    feed: Feed = request.app.state.feed
    async for message in feed.follow(last_event_id):
        yield ServerSentEvent(data=message, id=message.id)


@router.websocket("/ws")
async def push(websocket: WebSocket) -> None:
    """The same messages over a websocket, which ends after 10 minutes too; any key will do, as each may read."""
    await websocket.accept()
    async with anyio.create_task_group() as group:
        group.start_soon(_send, websocket, group.cancel_scope)
        group.start_soon(_hear, websocket, group.cancel_scope)


async def _send(websocket: WebSocket, both: anyio.CancelScope) -> None:
    feed: Feed = websocket.app.state.feed
    try:
        async for message in feed.follow():
            await websocket.send_text(message.model_dump_json())
        await websocket.close(GOING_AWAY)
    except WebSocketDisconnect:
        pass
    both.cancel()


async def _hear(websocket: WebSocket, both: anyio.CancelScope) -> None:
    """Returns when the other side is gone; what it says means nothing."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        continue
    both.cancel()
