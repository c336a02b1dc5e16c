"""Who is *me*: the e-mails and logins of the person whose achievements are shown first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

# Achievements of mine: as author or co-author, and what was written down here by hand. Of nobody while nobody is known.
MINE: Final = """(
    lower(author_email) IN (SELECT value FROM identities WHERE kind = 'email')
    OR lower(author_login) IN (SELECT value FROM identities WHERE kind = 'login')
    OR EXISTS (
        SELECT FROM jsonb_array_elements(metadata_json -> 'co_authors') AS person
        JOIN identities ON kind = 'email' AND identities.value = lower(person ->> 'email')
        OR kind = 'login' AND identities.value = lower(person ->> 'login')
    )
    OR source_type = 'manual' AND EXISTS (SELECT FROM identities)
)"""
# Whose achievements figures and portfolios are about, by `Whose` as parameters.
WHOSE: Final = f"""(
    CASE WHEN cast(:author AS text) IS NOT NULL
        THEN lower(:author) IN (lower(author_name), lower(author_login), lower(author_email))
        ELSE cast(:everyone AS boolean) OR NOT EXISTS (SELECT FROM identities) OR {MINE}
    END
)"""


@dataclass(frozen=True, slots=True)
class Whose:
    """Of an author (a name, login or e-mail); else mine, as far as it is known who I am; of all with `everyone`."""

    author: str | None = None
    everyone: bool = False

    def is_mine(self, me: Me) -> bool:
        """Whether mine alone are meant."""
        return self.author is None and not self.everyone and bool(me)


@dataclass(frozen=True, slots=True)
class Me:
    """In lower case, sorted; both empty while nobody said who I am."""

    emails: tuple[str, ...]
    logins: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.emails or self.logins)


_READ = text("SELECT kind, value FROM identities ORDER BY value")
_ADD = text("""
    INSERT INTO identities (kind, value)
    SELECT :kind, lower(value) FROM unnest(cast(:values AS text[])) AS value ON CONFLICT DO NOTHING
""")
_CLEAR = text("DELETE FROM identities WHERE cast(:kind AS text) IS NULL OR kind = :kind AND value = lower(:value)")
_WROTE = text("SELECT EXISTS (SELECT FROM pull_requests WHERE lower(change ->> 'author_login') = lower(:login))")


def read(connection: Connection) -> Me:
    """Who I am."""
    found = connection.execute(_READ).all()
    emails, logins = ([row.value for row in found if row.kind == kind] for kind in ("email", "login"))
    return Me(tuple(emails), tuple(logins))


def add(connection: Connection, emails: Collection[str], logins: Collection[str]) -> None:
    """Adds to who I am; what is there already stays once."""
    for kind, values in (("email", emails), ("login", logins)):
        connection.execute(_ADD, {"kind": kind, "values": list(values)})


def remove(connection: Connection, kind: str, value: str) -> bool:
    """Takes one away; False when it was not there."""
    return bool(connection.execute(_CLEAR, {"kind": kind, "value": value}).rowcount)


def replace(connection: Connection, emails: Collection[str], logins: Collection[str]) -> None:
    """Makes me exactly these."""
    connection.execute(_CLEAR, {"kind": None, "value": None})
    add(connection, emails, logins)


def wrote_a_pull_request(connection: Connection, login: str) -> bool:
    """Whether a pull request that was read is the login's."""
    return bool(connection.execute(_WROTE, {"login": login}).scalar_one())
