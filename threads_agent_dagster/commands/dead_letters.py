"""`threads-agent redrive`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, database

SHOWN = 1000


def redrive(
    asset: Annotated[str | None, typer.Option(help="Only rows of this table.")] = None,
    key: Annotated[str | None, typer.Option(help="Only the row with this key, e.g. task:12.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be tried again, newest first.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try again what was given up after its last attempt, once the cause is mended."""
    if dry_run:
        _list(asset, key, home, as_json)
        return
    from threads_agent_dagster.work import dead_letters

    with database(home) as engine, engine.begin() as connection:
        revived = dead_letters.redrive(connection, asset, key)
    typer.echo(json.dumps({"revived": revived}) if as_json else f"tried again: {revived}")


def _list(asset: str | None, key: str | None, home: HomeOption, as_json: bool) -> None:
    from threads_agent_dagster.db import dead_letters
    from threads_agent_dagster.db.pages import Window

    with database(home) as engine, engine.connect() as connection:
        found = dead_letters.read(connection, asset, key, Window(SHOWN))
    for row in found[:SHOWN]:
        shown = {name: row[name] for name in ("asset", "key", "attempts", "error")} | {"dead_at": f"{row['dead_at']}"}
        typer.echo(json.dumps(shown) if as_json else f"{row['asset']}  {row['key']}  {row['error']}")
    if not as_json and not found:
        typer.echo("nothing was given up")
    if len(found) > SHOWN:
        typer.echo(f"… and more than {SHOWN}", err=True)
