"""`threads-agent me show | add | remove`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, database, typed
from threads_agent_dagster.errors import NotFound

app = typer.Typer(
    help="Whose achievements the Overview and the portfolio show: your e-mails and logins.", no_args_is_help=True
)
IdentityArgument = Annotated[list[str], typer.Argument(metavar="EMAIL|LOGIN...")]


@app.command("show")
def show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Who you are, as far as it is known."""
    from threads_agent_dagster.db import identities

    with database(home) as engine, engine.connect() as connection:
        me = identities.read(connection)
    if as_json:
        typer.echo(json.dumps(asdict(me)))
        return
    nobody = f"not known yet, so everyone's achievements are shown; `{typed(home, 'me add EMAIL')}` says who you are"
    typer.echo("\n".join((*me.emails, *(f"@{login}" for login in me.logins))) or nobody)


@app.command("add")
def add(identities: IdentityArgument, home: HomeOption = None) -> None:
    """These are you as well."""
    from threads_agent_dagster.db import identities as db
    from threads_agent_dagster.work.identities import kind_of

    told = [kind_of(one) for one in identities]
    with database(home) as engine, engine.begin() as connection:
        emails, logins = ([value for kind, value in told if kind == wanted] for wanted in ("email", "login"))
        db.add(connection, emails, logins)
    show(home)


@app.command("remove")
def remove(identities: IdentityArgument, home: HomeOption = None) -> None:
    """These are not you."""
    from threads_agent_dagster.db import identities as db
    from threads_agent_dagster.work.identities import kind_of

    with database(home) as engine, engine.begin() as connection:
        for one in identities:
            if not db.remove(connection, *kind_of(one)):
                raise NotFound(f"{one} is not among your e-mails and logins; `threads-agent me show` lists them")
    show(home)
