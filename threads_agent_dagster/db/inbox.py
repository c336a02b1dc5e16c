"""Queries of the inbox: one row per delivery, raw as it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB


@dataclass(frozen=True, slots=True)
class NewDelivery:
    source: str
    delivery_id: str
    event: str
    body: bytes
    body_hash: str
    headers: Mapping[str, str]
    day: date
    received_at: datetime
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    id: int
    status: str
    reason: str | None


_INSERT = text(
    "INSERT INTO inbox (source, delivery_id, event, body, body_hash, headers, day, received_at, status, reason) "
    "VALUES (:source, :delivery_id, :event, :body, :body_hash, :headers, :day, :received_at, :status, :reason) "
    "ON CONFLICT DO NOTHING RETURNING id"
).bindparams(bindparam("headers", type_=JSONB))
_FIND = text(
    "SELECT id, status, reason FROM inbox "
    "WHERE source = :source AND (delivery_id = :delivery_id OR body_hash = :body_hash) ORDER BY id LIMIT 1"
)


def insert(connection: Connection, delivery: NewDelivery) -> int | None:
    """The id of the new row; None when this delivery id or this body is there already."""
    values = {name: getattr(delivery, name) for name in NewDelivery.__slots__}
    row_id: int | None = connection.execute(_INSERT, values).scalar_one_or_none()
    return row_id


def find(connection: Connection, source: str, delivery_id: str, body_hash: str) -> StoredDelivery:
    """The row that holds this delivery id or this body; raises NoResultFound when none does."""
    row = connection.execute(_FIND, {"source": source, "delivery_id": delivery_id, "body_hash": body_hash}).one()
    return StoredDelivery(**row._mapping)
