"""`threads-agent demo remove`."""

from __future__ import annotations

import typer

from threads_agent_dagster.commands.context import HomeOption, count, database, typed

app = typer.Typer(help="The demo data that `up --demo` brings.", no_args_is_help=True)


@app.command("remove")
def remove(home: HomeOption = None) -> None:
    """Take the demo data away; everything else stays."""
    from threads_agent_dagster.local import demo

    with database(home) as engine:
        removed = demo.remove(engine)
    if removed:
        typer.echo(f"{count(removed, 'demo import')} undone; `{typed(home, 'up')}` without --demo brings nothing back")
    else:
        typer.echo("there is no demo data")


@app.callback()
def _group() -> None:
    """Keeps `remove` a word of its own."""
