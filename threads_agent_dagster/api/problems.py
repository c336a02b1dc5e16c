"""Every failure as application/problem+json (RFC 9457): what was wrong, in which field, whether trying again helps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg.errors import DiskFull
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from threads_agent_dagster.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Stale,
    ThreadsAgentError,
    Unauthorized,
    Unavailable,
)
from threads_agent_dagster.work.tasks import TASK_TYPES

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
DATABASE_DOWN = (OperationalError, InterfaceError, PoolTimeout)

# The most derived class of an error's family comes first.
STATUS: Sequence[tuple[type[ThreadsAgentError], HTTPStatus]] = (
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Stale, HTTPStatus.PRECONDITION_FAILED),
    (Conflict, HTTPStatus.CONFLICT),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (ConfigurationError, HTTPStatus.SERVICE_UNAVAILABLE),
)


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any) -> JSONResponse:
    """A problem document; `extensions` are further members, e.g. `errors`."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(
        document | extensions, status_code=status, headers=dict(headers or {}), media_type="application/problem+json"
    )


def of_error(error: ThreadsAgentError) -> JSONResponse:
    """The answer to a failure that the platform raised on purpose."""
    status = next((status for family, status in STATUS if isinstance(error, family)), None)
    if status is None:
        logger.error("unexpected failure", exc_info=error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong here; the log of the service tells what")
    if isinstance(error, InvalidInput):
        return problem(status, str(error), errors=[{"field": error.field or "body", "message": str(error)}])
    return problem(status, str(error), headers=_headers(status))


def database_fault(error: BaseException | None) -> str:
    """What is wrong with PostgreSQL, for people; names no host, user or statement."""
    if isinstance(getattr(error, "orig", None), DiskFull):
        return "the database's disk is full; nothing was stored"
    return "the database does not answer"


def of_database(error: Exception) -> JSONResponse:
    """The answer while PostgreSQL cannot be used."""
    fault = database_fault(error)
    logger.warning("%s: %s", fault, type(error).__name__)
    return overloaded(f"{fault}; try again")


def overloaded(detail: str) -> JSONResponse:
    """Nothing is wrong with the request, but it cannot be served now."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return problem(status, detail, headers=_headers(status))


def _headers(status: HTTPStatus) -> dict[str, str]:
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="threads-agent"'}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


def _field(location: Sequence[int | str]) -> str:
    """`payload.topic` of pydantic's ("body", "content.generation", "payload", "topic")."""
    where, *path = location
    if path and path[0] in TASK_TYPES:  # pydantic names the member of the union too
        del path[0]
    return ".".join(map(str, path)) if path else str(where)


def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [{"field": _field(one["loc"]), "message": one["msg"]} for one in error.errors()]
    named = ", ".join(dict.fromkeys(one["field"] for one in errors))
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"the request is not valid: {named}", errors=errors)


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, headers=error.headers)


def _platform_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ThreadsAgentError)
    return of_error(error)


def _database_error(_: Request, error: Exception) -> JSONResponse:
    return of_database(error)


def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong here; the log of the service tells what")


def install(app: FastAPI) -> None:
    """Makes `app` answer every failure with a problem document."""
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ThreadsAgentError, _platform_error)
    for down in DATABASE_DOWN:
        app.add_exception_handler(down, _database_error)
    app.add_exception_handler(Exception, _unexpected)
