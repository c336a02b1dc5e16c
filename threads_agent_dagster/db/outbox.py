"""What is to be told outside PostgreSQL, written in the transaction that causes it and delivered after its commit.

A trigger marks each row as work of its topic: `pending` (topic, `outbox:<id>`) holds what is not delivered yet, so
claims, leases, back-off, dead letters and redrive are those of every other noun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB


@dataclass(frozen=True, slots=True)
class Message:
    """`waits` is its row in `pending`; `key` is what makes it the same message again."""

    waits: str
    id: int
    key: str
    payload: Mapping[str, Any]
    created_at: datetime


_APPEND = text(
    "INSERT INTO outbox (topic, key, payload) VALUES (:topic, :key, :payload) ON CONFLICT (topic, key) DO NOTHING"
).bindparams(bindparam("payload", type_=JSONB))


def append(connection: Connection, topic: str, key: str, payload: Mapping[str, Any]) -> bool:
    """Whether the message is new; one with the same key is told once."""
    return connection.execute(_APPEND, {"topic": topic, "key": key, "payload": payload}).rowcount == 1


_READ = text(
    "SELECT 'outbox:' || id AS waits, id, key, payload, created_at FROM outbox "
    "WHERE topic = :topic AND delivered_at IS NULL AND id = ANY("
    "SELECT substr(waits, 8)::bigint FROM unnest(cast(:waits AS text[])) AS waits) ORDER BY id"
)


def read(connection: Connection, topic: str, waits: Sequence[str]) -> list[Message]:
    """The undelivered messages behind these keys of `pending`, oldest first."""
    found = connection.execute(_READ, {"topic": topic, "waits": list(waits)})
    return [Message(**row._mapping) for row in found]


_SETTLE = text("UPDATE outbox SET delivered_at = clock_timestamp(), withheld = :withheld WHERE id = ANY(:ids)")


def settle(connection: Connection, ids: Sequence[int], *, withheld: bool) -> None:
    """Says that messages were delivered, or that they never will be on their own."""
    if ids:
        connection.execute(_SETTLE, {"ids": list(ids), "withheld": withheld})


_DELIVERED = text(
    "SELECT extract(epoch FROM clock_timestamp() - delivered_at)::float8 FROM outbox "
    "WHERE topic = :topic AND NOT withheld AND delivered_at > clock_timestamp() - make_interval(secs => :seconds) "
    "ORDER BY delivered_at"
)


def delivered(connection: Connection, topic: str, seconds: float) -> list[float]:
    """How many seconds ago each message of the last `seconds` was delivered, oldest first."""
    return list(connection.execute(_DELIVERED, {"topic": topic, "seconds": seconds}).scalars())
