"""`threads-agent backup | restore | verify`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, read_settings

if TYPE_CHECKING:
    from threads_agent_dagster.settings import Settings

FolderArgument = Annotated[
    Path | None, typer.Argument(help="The backup folder; default: THREADS_AGENT_BACKUP_DIR, else HOME/backups.")
]
MarkOption = Annotated[str | None, typer.Option("--mark", help="Name this moment, to restore it later.")]


def backup(
    mark: MarkOption = None,
    only_mark: Annotated[bool, typer.Option("--only-mark", help="Name the moment without another backup.")] = False,
    keep: Annotated[int | None, typer.Option(min=1, help="Delete all but the newest this many backups.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back up the running platform's database, Dagster's tables included, and verify what was written."""
    from threads_agent_dagster.local import archive
    from threads_agent_dagster.local import backup as backups
    from threads_agent_dagster.local.home import Home
    from threads_agent_dagster.local.progress import Progress

    if only_mark and mark is None:
        raise typer.BadParameter("it needs --mark NAME", param_hint="--only-mark")
    settings, progress, said = read_settings(home), Progress(), dict[str, Any]()
    place, folder, url = Home(settings.home), _folder(settings), _embedded_url(settings)
    if not only_mark:
        with progress.step(f"Base backup into {folder}"):
            base = backups.make(place, url, folder)
        said |= {"backup": str(base.folder), "bytes": base.size, "seconds": base.seconds}
    if mark is not None:
        with progress.step(f"Mark {mark}"):
            made = backups.mark(place, url, folder, mark)
        said |= {"mark": made.name, "lsn": made.lsn, "at": made.at}
    if keep is not None:
        said["deleted"] = backups.prune(archive.current(folder, place), keep)
    _say(said, as_json)


def restore(
    folder: FolderArgument = None,
    mark: Annotated[str | None, typer.Option("--mark", help="Stop at this mark.")] = None,
    time: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"],
            help="Stop before the first commit after this time, e.g. 2026-01-31T18:00:00Z.",
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a backup back into an empty home: to a mark, a time, or the last change. `up` then starts it."""
    from dataclasses import asdict

    from threads_agent_dagster.local import restore as restores
    from threads_agent_dagster.local.home import Home
    from threads_agent_dagster.local.progress import Progress

    if mark is not None and time is not None:
        raise typer.BadParameter("either --mark or --time", param_hint="--time")
    settings, goal = read_settings(home), restores.Goal(mark, time)
    source = folder or _folder(settings)
    with Progress().step(f"Restoring {goal} into {settings.home}"):
        done = restores.restore(source, Home(settings.home), goal)
    said = asdict(done) | {"rows": sum(done.rows.values()), "tables": len(done.rows)}
    _say(said, as_json)


def verify(
    folder: FolderArgument = None,
    drill: Annotated[bool, typer.Option("--drill", help="Also restore the last change, in a scratch folder.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every byte of the backups and of the archive. Exit code 1 names the first damage."""
    from dataclasses import asdict

    from threads_agent_dagster.local import backup as backups
    from threads_agent_dagster.local import restore as restores
    from threads_agent_dagster.local.progress import Progress

    source, progress, said = folder or _folder(read_settings(home)), Progress(), dict[str, Any]()
    with progress.step(f"Reading {source}"):
        said["histories"] = [asdict(backups.verify(history)) for history in backups.histories(source)]
    if drill:
        with progress.step("Restoring into a scratch folder"):
            done = restores.drill(source)
        said["drill"] = {"tables": len(done.rows), "rows": sum(done.rows.values()), "seconds": done.seconds}
    _say(said, as_json)


def _folder(settings: Settings) -> Path:
    return settings.backup_dir.expanduser().absolute() if settings.backup_dir else settings.home / "backups"


def _embedded_url(settings: Settings) -> str:
    from threads_agent_dagster.errors import ConfigurationError
    from threads_agent_dagster.local.endpoints import read
    from threads_agent_dagster.local.home import Home

    if settings.database_url is not None:
        raise ConfigurationError("the database of DATABASE_URL is not ours; back it up with its own server's tools")
    return read(Home(settings.home)).database_url


def _say(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(said, indent=2))
        return
    for name, value in said.items():
        typer.echo(f"{name}: {json.dumps(value) if isinstance(value, dict | list) else value}")
