"""`threads-agent import git | github | experiments | list | undo`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, count, database, read_settings, typed
from threads_agent_dagster.errors import InvalidInput

app = typer.Typer(help="Bring in what already exists, and take it away again.", no_args_is_help=True)

RATE_LIMIT_PATIENCE_SECONDS = 3700.0  # GitHub's limit is per hour

SinceOption = Annotated[str | None, typer.Option("--since", help="Only commits since this date (YYYY-MM-DD, UTC).")]


@app.command("git")
def import_git(
    path: Annotated[Path, typer.Argument(help="A checkout.")] = Path(),
    since: SinceOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A git history: each merged change becomes an achievement."""
    from rich.console import Console

    from threads_agent_dagster.work import imports

    with database(home) as engine, Console(stderr=True).status("reading commits") as status:
        seen = imports.import_git(
            engine,
            path.expanduser(),
            datetime.now(UTC),
            since=_date(since),
            progress=lambda changes: status.update(f"{changes} changes read"),
        )
    if as_json:
        typer.echo(json.dumps(asdict(seen)))
        return
    counts = [count(seen.commits, "commit"), count(seen.merges, "merge"), count(seen.authors, "author")]
    typer.echo(f"{seen.repository}: {', '.join(counts)}")
    typer.echo(f"{count(seen.changes, 'change')} on the main line, {seen.added} of them new to the platform")
    for reason, ignored in seen.ignored.most_common():
        typer.echo(f"  {ignored} ignored: {reason}")
    _tell_undo(home, seen.import_id)


@app.command("github")
def import_github(
    repository: Annotated[str, typer.Argument(metavar="OWNER/REPO")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """All merged pull requests by GitHub's API (needs GITHUB_TOKEN); interrupted, the same command goes on with it."""
    from rich.console import Console

    from threads_agent_dagster.clients.github import from_settings, repository_of
    from threads_agent_dagster.work.pull_requests import import_github as run

    name, settings = repository_of(repository), read_settings(home)
    with (
        from_settings(settings, RATE_LIMIT_PATIENCE_SECONDS) as api,
        database(home) as engine,
        Console(stderr=True).status("listing pull requests") as status,
    ):
        seen = run(
            engine,
            api,
            name,
            datetime.now(UTC),
            progress=lambda done, total: status.update(f"{done} of {total} pull requests read"),
        )
    if as_json:
        typer.echo(json.dumps(asdict(seen)))
        return
    read = count(seen.read, "merged pull request")
    typer.echo(f"{seen.repository}: {read} new or changed since the last time, and read")
    for reason, ignored in sorted(seen.ignored.items()):
        typer.echo(f"  {ignored} ignored: {reason}")
    _tell_undo(home, seen.import_id)


@app.command("experiments")
def import_experiments(
    csv: Annotated[Path, typer.Argument(help="experiment_id,headline,impressions,clicks,lede,test_week")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A CSV of headline experiments: variants, posts and what readers did with them. Bad lines stop it whole."""
    from threads_agent_dagster.work import imports

    with database(home) as engine:
        added = imports.import_experiments(engine, csv.expanduser())
    if as_json:
        typer.echo(json.dumps(asdict(added)))
        return
    found = f"{count(added.experiments, 'experiment')} with {count(added.variants, 'variant')}"
    typer.echo(f"new to the platform: {found}")
    _tell_undo(home, added.import_id)


@app.command("list")
def list_imports(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What was imported, oldest first."""
    from threads_agent_dagster.db.imports import read_all

    with database(home) as engine, engine.connect() as connection:
        found = read_all(connection)
    if as_json:
        typer.echo(json.dumps([asdict(one) | {"started_at": one.started_at.isoformat()} for one in found]))
        return
    for one in found:
        demo = " (demo)" if one.demo else "" if one.finished else " (interrupted: import it again to go on)"
        rows = count(one.row_count, "row")
        typer.echo(f"{one.id:4}  {one.kind:11}  {one.started_at:%Y-%m-%d %H:%M}  {rows:>14}  {one.source}{demo}")
    if not found:
        typer.echo(f"nothing was imported; `{typed(home, 'import git PATH')}` brings in a history")


@app.command("undo")
def undo(import_id: Annotated[int, typer.Argument(metavar="ID")], home: HomeOption = None) -> None:
    """Take away what an import brought, and what was derived from it."""
    from threads_agent_dagster.work import imports

    with database(home) as engine:
        imports.undo(engine, import_id)
    typer.echo(f"import {import_id} is undone")


def _tell_undo(home: Path | None, import_id: int | None) -> None:
    if import_id is not None:
        typer.echo(f"import {import_id}; `{typed(home, f'import undo {import_id}')}` takes it away again")


def _date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(f"{value!r} is not a date written YYYY-MM-DD", field="--since") from None
