"""/me: whose achievements the Overview and the portfolio show."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, Field

from threads_agent_dagster.api.bodies import In, Line, Out, StrictRoute
from threads_agent_dagster.api.dependencies import EngineDep
from threads_agent_dagster.api.security import Editor, Viewer
from threads_agent_dagster.db import identities as db
from threads_agent_dagster.errors import InvalidInput
from threads_agent_dagster.work.identities import kind_of

router = APIRouter(tags=["me"], route_class=StrictRoute)


def _of(kind: str) -> AfterValidator:
    def check(value: str) -> str:
        try:
            found, told = kind_of(value)
        except InvalidInput:
            found, told = "", ""
        if found != kind:
            raise ValueError(f"an {kind} is expected" if kind == "email" else f"a {kind} is expected")
        return told

    return AfterValidator(check)


Emails = Annotated[list[Annotated[str, Field(max_length=320), _of("email")]], Field(max_length=100)]
Logins = Annotated[list[Annotated[str, Field(max_length=110), _of("login")]], Field(max_length=100)]


class Me(Out):
    """Both are empty while nobody said who I am; then everybody's achievements are shown."""

    emails: list[str]
    logins: list[str]


Author = Annotated[Line, Field(description="a name, a login or an e-mail address: of theirs alone")]
Everyone = Annotated[bool, Field(description="of all people; otherwise the author's, or mine as `/me` says")]


async def _whose(
    author: Annotated[Author | None, Query()] = None, everyone: Annotated[Everyone, Query()] = False
) -> db.Whose:
    return db.Whose(author, everyone)


WhoseDep = Annotated[db.Whose, Depends(_whose)]


class WrittenMe(In):
    """Who I am, all of it."""

    emails: Emails
    logins: Logins


@router.get("/me")
def get_me(engine: EngineDep, _: Viewer) -> Me:
    with engine.connect() as connection:
        return Me.model_validate(db.read(connection))


@router.put("/me")
def put_me(written: WrittenMe, engine: EngineDep, _: Editor) -> Me:
    with engine.begin() as connection:
        db.replace(connection, written.emails, written.logins)
        return Me.model_validate(db.read(connection))
