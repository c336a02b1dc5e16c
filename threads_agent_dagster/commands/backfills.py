"""`threads-agent backfill plan | run | cancel`."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, database, read_settings
from threads_agent_dagster.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from threads_agent_dagster.clients.dagster import DagsterClient
    from threads_agent_dagster.db.pending import Days
    from threads_agent_dagster.domain.backfills import Plan

app = typer.Typer(help="Make history anew, after saying what it costs.", no_args_is_help=True)

AssetArgument = Annotated[str, typer.Argument(help="The table, e.g. emotion_trajectories.")]
FromOption = Annotated[
    datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC); default: the first stale row.")
]
ToOption = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); default: the last stale row.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Every row, not only what is missing or out of date.")]
WATCH_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
FAILED = {"FAILURE", "CANCELED"}
FINISHED = {"SUCCESS", *FAILED}
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@app.command("plan")
def plan(
    asset: AssetArgument,
    first: FromOption = None,
    last: ToOption = None,
    force: ForceOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a backfill would do: partitions, stale rows by version, tokens, money and minutes. Starts nothing."""
    with database(home) as engine:
        found = _plan(engine, asset, first, last, force)
    typer.echo(json.dumps(found.as_json()) if as_json else found.as_text())


@app.command("run")
def run(
    asset: AssetArgument,
    first: FromOption = None,
    last: ToOption = None,
    force: ForceOption = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Only compare old with new; change no row.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is launched.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Launch it as one run, after showing the plan; Ctrl-C stops watching, not the run."""
    client = _client(home)
    with database(home) as engine:
        found = _plan(engine, asset, first, last, force)
        typer.echo(found.as_text(), err=True)
        if not found.rows:
            typer.echo("nothing is stale", err=True)
            return
        if not yes:
            typer.confirm("Compare them?" if shadow else "Make them anew?", abort=True, err=True)
        run_id = client.launch_asset(asset, {"mode": "shadow" if shadow else "run", "force": force}, _tags(found))
        typer.echo(f"run {run_id}; stop it with `threads-agent backfill cancel {run_id}`", err=True)
        status = None if detach else _watch(engine, client, run_id)
    if as_json:
        typer.echo(json.dumps({"run_id": run_id, "rows": found.rows, "status": status}))
    elif status == "SUCCESS" and shadow:
        typer.echo(client.observed(asset, run_id, "shadow"))
    elif status is not None:
        typer.echo(status)
    if status in FAILED:
        raise Conflict(f"run {run_id} ended as {status}; its log is in the Dagster UI")


@app.command("cancel")
def cancel(run_id: Annotated[str, typer.Argument(metavar="RUN")], home: HomeOption = None) -> None:
    """Stop a backfill: its run ends, its claims and slots are free, rows that are not made yet stay as they are."""
    from threads_agent_dagster.work import backfills

    client = _client(home)
    if client.run_status(run_id) is None:
        raise NotFound(f"there is no run {run_id}; it is the id that `threads-agent backfill run` named")
    with database(home) as engine:
        client.terminate(run_id)
        left = backfills.cancel(engine, run_id)  # from here on whoever still works on it stores nothing
        status = _until_it_ends(client, run_id, PATIENCE_SECONDS)
        left += backfills.cancel(engine, run_id)  # it may have begun after the first look
    typer.echo(f"{left} rows stay as they are; the run ended as {status}")


def _client(home: Path | None) -> DagsterClient:
    from threads_agent_dagster.clients.dagster import DagsterClient
    from threads_agent_dagster.local.endpoints import read
    from threads_agent_dagster.local.home import Home

    settings = read_settings(home)
    return DagsterClient(settings.dagster_url or read(Home(settings.home)).dagster)


def _plan(engine: Engine, asset: str, first: datetime | None, last: datetime | None, force: bool) -> Plan:
    from threads_agent_dagster.work import backfills

    return backfills.plan(engine, backfills.find_job(asset), _days(first, last), force=force)


def _days(first: datetime | None, last: datetime | None) -> Days:
    from threads_agent_dagster.db.backfills import EVERYTHING
    from threads_agent_dagster.db.pending import Days

    start = first.date() if first else EVERYTHING.start
    end = last.date() if last else EVERYTHING.end
    if start > end:
        raise InvalidInput(f"{start} is after {end}", field="--from")
    return Days(start, end)


def _tags(plan: Plan) -> dict[str, str]:
    if plan.partitions is None:
        return {}
    return {RANGE_START: str(plan.first), RANGE_END: str(plan.last)}


def _watch(engine: Engine, client: DagsterClient, run_id: str) -> str | None:
    """Shows how far the run is until it ends; returns as what."""
    from threads_agent_dagster.db import backfills

    told = ""
    while (status := client.run_status(run_id)) not in FINISHED:
        with engine.connect() as connection:
            lines = [f"{one.rows - one.left:,} of {one.rows:,} rows" for one in backfills.progress(connection, run_id)]
        if lines and lines[0] != told:
            told = lines[0]
            typer.echo(told, err=True)
        time.sleep(WATCH_SECONDS)
    return status


def _until_it_ends(client: DagsterClient, run_id: str, seconds: float) -> str | None:
    until = time.monotonic() + seconds
    while (status := client.run_status(run_id)) not in FINISHED and time.monotonic() < until:
        time.sleep(WATCH_SECONDS)
    return status
