"""`threads-agent github connect | list | disconnect`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, database, read_settings, typed

if TYPE_CHECKING:
    from threads_agent_dagster.db.github import Connected

app = typer.Typer(help="GitHub repositories whose merged pull requests come in by themselves.", no_args_is_help=True)

PATIENCE_SECONDS = 60.0
RepositoryArgument = Annotated[str, typer.Argument(metavar="OWNER/REPO")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Where the world reaches the achievements API; without it GitHub is asked instead."),
]


@app.command("connect")
def connect(
    repository: RepositoryArgument, url: UrlOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """From now on, collect what is merged: by a webhook to --url, or by asking GitHub every ten minutes."""
    from threads_agent_dagster.clients.github import from_settings, repository_of
    from threads_agent_dagster.work import github

    name, settings = repository_of(repository), read_settings(home)
    with from_settings(settings, PATIENCE_SECONDS) as api, database(home) as engine:
        made = github.connect(engine, api, settings, name, url)
    if as_json:
        typer.echo(_json(made))
        return
    typer.echo(f"{made.repository}: {_how(made)}, from now on")
    typer.echo(f"what was merged before comes with `{typed(home, f'import github {made.repository}')}`")


@app.command("list")
def list_connected(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """The connected repositories, when GitHub was last asked, and what is missing."""
    from threads_agent_dagster.db.github import connected

    with database(home) as engine, engine.connect() as connection:
        found = connected(connection)
    if as_json:
        typer.echo("[" + ", ".join(map(_json, found)) + "]")
        return
    for one in found:
        checked = "not asked yet" if one.checked_at is None else f"asked {one.checked_at:%Y-%m-%d %H:%M} UTC"
        typer.echo(f"{one.repository}: {_how(one)}; {checked}, {one.missing} merged and not collected")
        if one.failure is not None:
            typer.echo(f"  failed: {one.failure}")
    if not found:
        typer.echo(f"no repository is connected; `{typed(home, 'github connect OWNER/REPO')}` connects one")


@app.command("disconnect")
def disconnect(repository: RepositoryArgument, home: HomeOption = None) -> None:
    """Take the webhook away, or end the asking; what was collected stays."""
    from threads_agent_dagster.clients.github import from_settings, repository_of
    from threads_agent_dagster.work import github

    name, settings = repository_of(repository), read_settings(home)
    with database(home) as engine:
        gone = github.disconnect(engine, lambda: from_settings(settings, PATIENCE_SECONDS), name)
    typer.echo(f"{gone.repository} is disconnected; what was collected stays")


def _how(one: Connected) -> str:
    return "GitHub is asked every ten minutes" if one.hook_url is None else f"GitHub delivers to {one.hook_url}"


def _json(one: Connected) -> str:
    return json.dumps(asdict(one), default=lambda moment: moment.isoformat())
