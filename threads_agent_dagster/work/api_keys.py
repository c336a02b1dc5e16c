"""API keys: `ta_<id>_<secret>`, shown once; the database holds only the SHA-256 of the secret."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Engine

from threads_agent_dagster.db import api_keys
from threads_agent_dagster.errors import InvalidInput, Unauthorized

PREFIX = "ta"
NO_HASH = bytes(32)  # compared with when the key is unknown, so that an unknown id takes as long as a wrong secret


class Role(StrEnum):
    """What a key may do; each role may do what the ones before it may.

    viewer reads; editor also creates, edits, generates and records; admin also deletes, publishes and manages.
    """

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the id and name of a key, and its roles."""

    id: str
    name: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        ranks = list(Role)
        return any(ranks.index(own) >= ranks.index(role) for own in self.roles)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def create(engine: Engine, name: str, scopes: Iterable[str], expires_at: datetime | None = None) -> str:
    """Stores a new key and returns its text, which cannot be shown again. Raises InvalidInput."""
    try:
        roles = {Role(scope) for scope in scopes}
    except ValueError as error:
        raise InvalidInput(f"{error}; known are {', '.join(Role)}", field="scopes") from None
    if not roles or not name.strip():
        raise InvalidInput("a key needs a name and at least one scope", field="scopes" if name.strip() else "name")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with engine.begin() as connection:
        api_keys.insert(connection, key_id, name, _hash(secret), sorted(roles), expires_at)
    return f"{PREFIX}_{key_id}_{secret}"


def verify(engine: Engine, token: str) -> Principal:
    """Who holds `token`. Raises Unauthorized for a key that is unknown, expired or revoked."""
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != PREFIX or not (key_id.isascii() and key_id.isalnum() and secret):
        raise Unauthorized("this is not an API key; a key looks like ta_<id>_<secret>")
    with engine.begin() as connection:
        key = api_keys.find(connection, key_id)
        known = hmac.compare_digest(key.secret_hash if key else NO_HASH, _hash(secret))
        if key is None or not known or key.revoked_at is not None:
            raise Unauthorized("unknown API key")
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise Unauthorized("this API key has expired; create another")
        if key.use_is_news:
            api_keys.touch(connection, key_id)
    return Principal(key.id, key.name, frozenset(Role(scope) for scope in key.scopes))
