"""`threads-agent up | down | status | doctor`, `config show`, `db upgrade | check`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, database_url, read_settings

if TYPE_CHECKING:
    from threads_agent_dagster.settings import Settings

DemoOption = Annotated[bool, typer.Option("--demo", help="Fill it with demo data once it runs.")]
PortsOption = Annotated[
    str | None, typer.Option("--ports", help="`auto` chooses free ports instead of the configured ones.")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Return once it is ready; `threads-agent down` ends it.")]
BackupOption = Annotated[
    bool, typer.Option(help="Dump older data into HOME/backups first; without, that is up to whoever runs the server.")
]
DagsterOption = Annotated[bool, typer.Option("--dagster", help="Also Dagster's tables, in a schema of their own.")]

config = typer.Typer(help="The configuration in effect.", no_args_is_help=True)
db = typer.Typer(help="The tables of the database.", no_args_is_help=True)


def up(
    home: HomeOption = None, demo: DemoOption = False, ports: PortsOption = None, detach: DetachOption = False
) -> None:
    """Start the whole platform on this machine: database, APIs, Dagster, dashboard. Ctrl-C stops it."""
    from threads_agent_dagster.local import foreground

    if ports not in (None, "auto"):
        raise typer.BadParameter(
            "the only value is `auto`; single ports are set by THREADS_AGENT_*_PORT", param_hint="--ports"
        )
    run = foreground.detach if detach else foreground.run
    run(read_settings(home), demo=demo, auto_ports=ports == "auto")


def down(home: HomeOption = None) -> None:
    """Stop the platform, wherever it was started."""
    from rich.console import Console

    from threads_agent_dagster.local import platform
    from threads_agent_dagster.local.home import Home

    with Console(stderr=True).status("stopping"):
        stopped = platform.down(Home(read_settings(home).home))
    typer.echo("stopped" if stopped else "nothing was running")


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What runs, where it answers, how often it was restarted. Exit code 1 when the platform is not ready."""
    from threads_agent_dagster.local import status as local_status
    from threads_agent_dagster.local.home import Home

    found = local_status.of(Home(read_settings(home).home))
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else found.as_text())
    raise typer.Exit(0 if found.ready else 1)


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look at everything the platform needs; name what is broken and its remedy. Exit code 1 when something is."""
    from dataclasses import asdict

    from threads_agent_dagster.local.doctor import Finding, examine

    findings: list[Finding] = []
    for finding in examine(read_settings(home)):
        findings.append(finding)
        if not as_json:
            typer.echo(f"{'ok    ' if finding.ok else 'BROKEN'}  {finding.name}: {finding.detail}")
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@config.command("show")
def config_show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every setting with its value, by the variable that sets it; secrets are masked."""
    from threads_agent_dagster.settings import Settings, variable_name

    settings = read_settings(home)
    values = {variable_name(field): _shown(getattr(settings, field)) for field in Settings.model_fields}
    if as_json:
        typer.echo(json.dumps(values, indent=2))
    else:
        typer.echo("\n".join(f"{name}={'' if value is None else value}" for name, value in values.items()))


@db.command("upgrade")
def db_upgrade(home: HomeOption = None, backup: BackupOption = True, dagster: DagsterOption = False) -> None:
    """Bring the tables to this version, after a backup of older data."""
    from threads_agent_dagster.local import schema
    from threads_agent_dagster.local.home import Home

    settings = read_settings(home)
    place, url = Home(settings.home), database_url(settings)
    place.create()
    saved = schema.upgrade(url, place.backups if backup else None)
    if dagster:
        _upgrade_dagster(place.log("dagster-migrate"), settings, url)
    typer.echo(f"the tables are up to date{f'; the data as they were: {saved}' if saved else ''}")


def _upgrade_dagster(log: Path, settings: Settings, database_url: str) -> None:
    from threads_agent_dagster.local import dagster_home, schema
    from threads_agent_dagster.local.home import Home

    with TemporaryDirectory() as folder:  # the files of a platform that runs in this home stay as they are
        scratch = Home(Path(folder))
        scratch.create()
        dagster_home.write(scratch, settings, code_port=0)
        variables = {**os.environ, **dagster_home.environment(scratch, settings, database_url)}
        schema.migrate_dagster(database_url, variables, log)


@db.command("check")
def db_check(home: HomeOption = None) -> None:
    """Exit code 1 unless the tables are exactly those of this version."""
    from threads_agent_dagster.local.doctor import migrations

    typer.echo(migrations(database_url(read_settings(home))))


def _shown(value: Any) -> str | int | float | None:
    if value is None or isinstance(value, int | float):
        return value
    return str(value)
