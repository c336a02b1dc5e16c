"""Keys are stored as hashes, rank their roles, and note their use at most once a minute."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import Engine, text

from threads_agent_dagster.errors import InvalidInput, Unauthorized
from threads_agent_dagster.work.api_keys import Principal, Role, create, verify


def _one(engine: Engine, column: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT {column} FROM api_keys")).scalar_one()


def test_the_database_holds_no_secret(engine: Engine) -> None:
    _, key_id, secret = create(engine, "laptop", ["editor"]).split("_", 2)
    assert _one(engine, "secret_hash") == hashlib.sha256(secret.encode()).digest()
    assert _one(engine, "id") == key_id
    assert secret not in _one(engine, "api_keys::text")


def test_a_key_tells_who_holds_it(engine: Engine) -> None:
    token = create(engine, "laptop", ["editor"])
    assert verify(engine, token) == Principal(token.split("_")[1], "laptop", frozenset({Role.EDITOR}))


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("viewer", {"viewer"}), ("editor", {"viewer", "editor"}), ("admin", {"viewer", "editor", "admin"})],
)
def test_a_role_may_do_what_those_before_it_may(scope: str, allowed: set[str]) -> None:
    principal = Principal("id", "name", frozenset({Role(scope)}))
    assert {role.value for role in Role if principal.may(role)} == allowed


@pytest.mark.parametrize(("name", "scopes"), [("laptop", ["root"]), ("laptop", []), (" ", ["viewer"])])
def test_a_key_needs_a_name_and_known_scopes(engine: Engine, name: str, scopes: list[str]) -> None:
    with pytest.raises(InvalidInput):
        create(engine, name, scopes)


def test_use_is_noted_once_a_minute(engine: Engine) -> None:
    token = create(engine, "laptop", ["viewer"])
    assert _one(engine, "last_used_at") is None
    verify(engine, token)
    noted = _one(engine, "last_used_at")
    assert noted is not None
    verify(engine, token)
    assert _one(engine, "last_used_at") == noted
    with engine.begin() as connection:
        connection.execute(text("UPDATE api_keys SET last_used_at = last_used_at - interval '61 s'"))
    verify(engine, token)
    assert _one(engine, "last_used_at") > noted


def test_a_wrong_secret_is_not_noted_as_use(engine: Engine) -> None:
    token = create(engine, "laptop", ["viewer"])
    with pytest.raises(Unauthorized):
        verify(engine, token + "x")
    assert _one(engine, "last_used_at") is None
