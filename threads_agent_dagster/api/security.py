"""Who may call what, and how much they may send: every path needs an API key, except the few that are open."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threads_agent_dagster.api import docs, problems
from threads_agent_dagster.errors import Forbidden, Unauthorized
from threads_agent_dagster.work.api_keys import Principal, Role, verify

# Probes, the scrape, the signed webhook (its signature is its key), and what describes the API.
PROBES = {"/health", "/livez", "/readyz", "/metrics"}
OPEN_PATHS = docs.PATHS | PROBES | {"/webhooks/github", "/openapi.json"}
BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


def _token(request: HTTPConnection) -> str:
    authorization, key = request.headers.getlist("Authorization"), request.headers.getlist("X-API-Key")
    if len(authorization) + len(key) > 1:
        raise Unauthorized("send one API key, once")
    if key:
        return key[0]
    bearer = BEARER.fullmatch(authorization[0]) if authorization else None
    if bearer is None:
        raise Unauthorized("an API key is needed: Authorization: Bearer ta_… or X-API-Key: ta_…")
    return bearer[1]


class LimitBody:
    """Refuses a body of more than `limit` bytes as soon as it is announced or has come."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > self.limit:
            await self._too_large()(scope, receive, send)
            return
        came = 0

        async def receive_limited() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail())
            return message

        await self.app(scope, receive_limited, send)

    def _detail(self) -> str:
        return f"a body of at most {self.limit} bytes is read"

    def _too_large(self) -> Response:
        return problems.problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail(), headers={"Connection": "close"})


class LimitLoad:
    """Refuses what comes while `requests` are under way or their bodies fill `held` bytes: to wait would help nobody.

    Probes and the scrape pass.
    """

    def __init__(self, app: ASGIApp, requests: int, held: int) -> None:
        self.app = app
        self.requests, self.held = requests, held
        self._under_way = self._holding = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        if self._under_way >= self.requests:
            await problems.overloaded("too many requests are under way; try again")(scope, receive, send)
            return
        came = 0

        async def receive_counted() -> Message:
            nonlocal came
            message = await receive()
            length = len(message.get("body", b""))
            came, self._holding = came + length, self._holding + length
            if self._holding > self.held:
                retry = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)}
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "too much is being received; try again", retry)
            return message

        self._under_way += 1
        try:
            await self.app(scope, receive_counted, send)
        finally:
            self._under_way -= 1
            self._holding -= came


class RequireKey:
    """Lets a request or a websocket in before anything it sends is read, with its principal in `state`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        engine: Engine = request.app.state.engine
        try:
            request.state.principal = await run_in_threadpool(verify, engine, _token(request))
        except Unauthorized as error:
            await problems.of_error(error)(scope, receive, send)
        except problems.DATABASE_DOWN as error:
            await problems.of_database(error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


# Both only describe: RequireKey has read the key before the route is found.
Bearer = Annotated[object, Security(HTTPBearer(auto_error=False, description="an API key, ta_<id>_<secret>"))]
KeyHeader = Annotated[object, Security(APIKeyHeader(name="X-API-Key", auto_error=False))]


def needs(role: Role) -> Callable[..., Awaitable[Principal]]:
    """A dependency that gives the caller if the caller has `role`. Raises Forbidden."""

    async def caller(request: Request, _bearer: Bearer, _header: KeyHeader) -> Principal:
        principal: Principal = request.state.principal
        if not principal.may(role):
            raise Forbidden(f"this needs the scope {role}; the key {principal.name!r} does not have it")
        return principal

    return caller


Viewer = Annotated[Principal, Depends(needs(Role.VIEWER))]
Editor = Annotated[Principal, Depends(needs(Role.EDITOR))]
Admin = Annotated[Principal, Depends(needs(Role.ADMIN))]
