"""Queries of the answers already given: one row per principal, route and Idempotency-Key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB


@dataclass(frozen=True, slots=True)
class Request:
    """What makes a request the same one again."""

    principal: str
    route: str
    key: str


@dataclass(frozen=True, slots=True)
class Answer:
    body_hash: str
    status: int
    response: Mapping[str, Any]


_LOCK = text(
    "SELECT pg_try_advisory_xact_lock(hashtextextended(concat_ws(E'\\n', "
    "'idempotency', cast(:principal AS text), cast(:route AS text), cast(:key AS text)), 0))"
)
_FIND = text(
    "SELECT body_hash, status, response FROM idempotency_keys "
    "WHERE principal = :principal AND route = :route AND key = :key"
)
_STORE = text(
    "INSERT INTO idempotency_keys (principal, route, key, body_hash, status, response) "
    "VALUES (:principal, :route, :key, :body_hash, :status, :response)"
).bindparams(bindparam("response", type_=JSONB))


def _parameters(request: Request) -> dict[str, Any]:
    return {"principal": request.principal, "route": request.route, "key": request.key}


def try_lock(connection: Connection, request: Request) -> bool:
    """Whether the request is ours until the transaction ends; False while another transaction answers it."""
    return bool(connection.execute(_LOCK, _parameters(request)).scalar_one())


def find(connection: Connection, request: Request) -> Answer | None:
    row = connection.execute(_FIND, _parameters(request)).one_or_none()
    return None if row is None else Answer(**row._mapping)


def store(connection: Connection, request: Request, answer: Answer) -> None:
    values = {"body_hash": answer.body_hash, "status": answer.status, "response": answer.response}
    connection.execute(_STORE, _parameters(request) | values)
