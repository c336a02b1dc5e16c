"""What routes are given: the engine, the settings, the caller, and an answer that is given once.

Dependencies that wait for nothing are coroutines: FastAPI sends every other one to a thread and back, which costs a
request more than what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, Engine, RowMapping

from threads_agent_dagster.api.bodies import Out, printable
from threads_agent_dagster.api.caching import Cache
from threads_agent_dagster.db import idempotency_keys
from threads_agent_dagster.errors import Conflict, InvalidInput, Stale
from threads_agent_dagster.settings import Settings
from threads_agent_dagster.work.api_keys import Principal


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _cache(request: Request) -> Cache:
    cache: Cache = request.app.state.cache
    return cache


def etag(row: RowMapping) -> str:
    """The entity tag of a row that was read with its version."""
    return f'"{row["version"]}"'


def check_version(row: RowMapping, if_match: str | None) -> None:
    """Raises Stale when the caller saw another version of the row; `if_match` is `*` or a list of entity tags."""
    if if_match is not None and not {"*", etag(row)} & {tag.strip() for tag in if_match.split(",")}:
        raise Stale("it was changed meanwhile; read it again")


IfMatch = Annotated[str | None, Header(max_length=200, description="the ETag that the caller saw")]
EngineDep = Annotated[Engine, Depends(_engine)]
CacheDep = Annotated[Cache, Depends(_cache)]
SettingsDep = Annotated[Settings, Depends(_settings)]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a write answers."""

    status: int
    body: Out
    headers: dict[str, str]

    def response(self) -> JSONResponse:
        return JSONResponse(self.body.model_dump(mode="json"), status_code=self.status, headers=self.headers)


class Once:
    """Runs a write in one transaction; under an Idempotency-Key its effect and its answer happen once."""

    def __init__(self, request: Request, engine: Engine, cache: Cache, key: str | None) -> None:
        self.engine = engine
        self.cache = cache
        self.key = key if key is None else printable(key, "Idempotency-Key")
        self.route = f"{request.method} {request.url.path}"
        self.principal: Principal = request.state.principal
        self.body_hash = getattr(request.state, "body_hash", "")

    def __call__(self, write: Callable[[Connection], Reply]) -> JSONResponse:
        with self.engine.begin() as connection:
            response = write(connection).response() if self.key is None else self._answer(connection, write, self.key)
        self.cache.forget()
        return response

    def _answer(self, connection: Connection, write: Callable[[Connection], Reply], key: str) -> JSONResponse:
        request = idempotency_keys.Request(self.principal.id, self.route, key)
        if not idempotency_keys.try_lock(connection, request):
            raise Conflict("a request with this Idempotency-Key is under way; try again when it is answered")
        given = idempotency_keys.find(connection, request)
        if given is not None:
            return self._again(given)
        reply = write(connection)
        response = {"headers": reply.headers, "body": reply.body.model_dump(mode="json")}
        idempotency_keys.store(connection, request, idempotency_keys.Answer(self.body_hash, reply.status, response))
        return reply.response()

    def _again(self, given: idempotency_keys.Answer) -> JSONResponse:
        if given.body_hash != self.body_hash:
            raise InvalidInput("this key was used with another body", field="Idempotency-Key")
        headers = {**given.response["headers"], "Idempotency-Replayed": "true"}
        return JSONResponse(given.response["body"], status_code=given.status, headers=headers)


async def _once(
    request: Request,
    engine: EngineDep,
    cache: CacheDep,
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Once:
    return Once(request, engine, cache, key)


OnceDep = Annotated[Once, Depends(_once)]
