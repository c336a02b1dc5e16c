"""Learning who is *me* from what is at hand: git's configuration, `.mailmap` and the token's owner.

Only while nobody said so, and only somebody whose work is there; a person's word (`threads-agent me`) is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection

from threads_agent_dagster.db import identities as db
from threads_agent_dagster.errors import InvalidInput

NOREPLY: Final = re.compile(r"(?:\d+\+)?([a-z0-9-]+)@users\.noreply\.github\.com", re.IGNORECASE)
EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
LOGIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}(\[bot\])?")


def learn_emails(connection: Connection, emails: Collection[str]) -> None:
    """These e-mails are mine, and the logins in them, if nobody said who I am."""
    if not db.read(connection):
        db.add(connection, emails, [found[1] for one in emails if (found := NOREPLY.fullmatch(one))])


def learn_login(connection: Connection, login: str) -> None:
    """This login is mine, if none is known and it is a pull request's author."""
    if not db.read(connection).logins and db.wrote_a_pull_request(connection, login):
        db.add(connection, [], [login])


def kind_of(value: str) -> tuple[str, str]:
    """`email` or `login`, and the value as it is stored. Raises InvalidInput for what is neither."""
    told = value.strip().removeprefix("@")
    if EMAIL.fullmatch(told):
        return "email", told.lower()
    if LOGIN.fullmatch(told):
        return "login", told.lower()
    raise InvalidInput(f"{value!r} is neither an e-mail address nor a login", field="identity")
