"""Queries of the API keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

# "Last used" is written at most once a minute, so that reading does not become writing.
_NEWS = "(last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')"
_FIND = text(
    f"SELECT id, name, secret_hash, scopes, expires_at, revoked_at, {_NEWS} AS use_is_news FROM api_keys WHERE id = :id"
)
_TOUCH = text(f"UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = :id AND {_NEWS}")
_INSERT = text(
    "INSERT INTO api_keys (id, name, secret_hash, scopes, expires_at) "
    "VALUES (:id, :name, :secret_hash, :scopes, :expires_at)"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    name: str
    secret_hash: bytes
    scopes: Sequence[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    use_is_news: bool


def find(connection: Connection, key_id: str) -> ApiKey | None:
    row = connection.execute(_FIND, {"id": key_id}).one_or_none()
    return None if row is None else ApiKey(**row._mapping)


def touch(connection: Connection, key_id: str) -> None:
    """Notes that the key is in use, unless that was noted within the last minute."""
    connection.execute(_TOUCH, {"id": key_id})


def insert(
    connection: Connection,
    key_id: str,
    name: str,
    secret_hash: bytes,
    scopes: Sequence[str],
    expires_at: datetime | None,
) -> None:
    connection.execute(
        _INSERT,
        {"id": key_id, "name": name, "secret_hash": secret_hash, "scopes": list(scopes), "expires_at": expires_at},
    )
