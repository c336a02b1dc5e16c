"""P1: from the commit of an event to the SUCCESS of the run that worked on it, through a real daemon.

The graph is the same on all sides: one unpartitioned asset without checks that marks the waiting rows. The stock sides
poll in a sensor that asks for every second; ours waits in LISTEN. `heavy` code locations import what a data platform
imports (great_expectations, scipy, openai, dash) at module level. Events come at random moments of the daemon's cycle.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.deployment import BEST_STOCK, DEFAULTS, OURS, Deployment, Flavour, postgres, wait_until
from benchmarks.harness import Limit, Row, Size, alternate, paired_ratio

HEAVY = "import dash, great_expectations, openai, scipy.stats\n"
CYCLE_SECONDS = 5.0  # of the sensor daemon
SEED = 20261122
TABLE = "CREATE TABLE event (id bigserial PRIMARY KEY, run_id text)"
INSERT = "WITH new AS (INSERT INTO event DEFAULT VALUES RETURNING id) SELECT id, pg_notify('event', '') FROM new"
FINISHED = "SELECT r.status FROM event e JOIN runs r ON r.run_id = e.run_id WHERE e.id = %s AND r.end_time IS NOT NULL"

ASSET = """
import os
import dagster as dg
import psycopg

URL = os.environ["BENCH_DATABASE_URL"]
WAITING = "SELECT max(id) FROM event WHERE run_id IS NULL"

@dg.asset
def marked(context: dg.AssetExecutionContext) -> None:
    with psycopg.connect(URL) as connection:
        connection.execute("UPDATE event SET run_id = %s WHERE run_id IS NULL", [context.run_id])

job = dg.define_asset_job("job", selection=[marked]{executor})

def waiting(connection):
    return connection.execute(WAITING).fetchone()[0]
"""
IN_PROCESS = ", executor_def=dg.in_process_executor"
POLLING = """
@dg.sensor(job=job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def poll():
    with psycopg.connect(URL) as connection:
        newest = waiting(connection)
    return [dg.RunRequest(run_key=str(newest))] if newest else []

defs = dg.Definitions(assets=[marked], jobs=[job], sensors=[poll])
"""
LISTENING = """
from threads_agent_dagster.dagster_fast.sensing import wait_for_work

UNFINISHED = dg.RunsFilter(statuses=[
    dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED,
])

def listening(name):
    @dg.sensor(name=name, job=job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
    def listen(context: dg.SensorEvaluationContext):
        def find(connection):
            newest = waiting(connection)
            return newest if newest and not context.instance.get_runs_count(UNFINISHED) else None
        newest = wait_for_work(URL, "event", 50, 1, find=find)
        return [dg.RunRequest(run_key=str(newest))] if newest else []
    return listen

defs = dg.Definitions(assets=[marked], jobs=[job], sensors=[listening(f"listen_{copy}") for copy in range(3)])
"""


@dataclass(frozen=True)
class Subject:
    """One side of the comparison."""

    name: str
    flavour: Flavour
    code: str


def subjects() -> dict[str, Subject]:
    in_process = ASSET.format(executor=IN_PROCESS)
    listening = in_process + LISTENING
    polling = in_process + POLLING
    sides = [
        Subject("ours", OURS, listening),
        Subject("ours, heavy imports", OURS, HEAVY + listening),
        Subject("best stock", BEST_STOCK, polling),
        Subject("best stock, heavy imports", BEST_STOCK, HEAVY + polling),
        Subject("Dagster's defaults", DEFAULTS, ASSET.format(executor="") + POLLING),
    ]
    return {side.name: side for side in sides}


def run(size: Size) -> list[Row]:
    rounds = 5 if size is Size.FULL else 1
    every = subjects()
    chosen = every if size is Size.FULL else {name: every[name] for name in ("ours", "best stock")}
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as url, ExitStack() as stack:
        taken = _measure(stack, Path(folder), url, list(chosen.values()), rounds)
    return [row for row in _rows(taken, rounds) if row is not None]


def _measure(stack: ExitStack, folder: Path, url: str, sides: Sequence[Subject], rounds: int) -> dict[str, list[float]]:
    samplers: dict[str, Callable[[], float]] = {}
    for side in sides:
        deployment = Deployment.create(side.flavour, folder, url, side.code)
        samplers[side.name] = stack.enter_context(_reacting(deployment, random.Random(SEED)))
    for react in samplers.values():  # the first run creates what later ones find
        react()
    return alternate(samplers, rounds)


@contextmanager
def _reacting(deployment: Deployment, chance: random.Random) -> Iterator[Callable[[], float]]:
    """A sampler of seconds from event to SUCCESS; at the end every event must have been worked on exactly once."""
    with psycopg.connect(deployment.url, autocommit=True) as connection:
        connection.execute(TABLE)
        with deployment.instance():  # creates Dagster's tables
            pass
        with deployment.daemon():
            yield lambda: _react(deployment, connection, chance.uniform(0, CYCLE_SECONDS))
        left = connection.execute("SELECT count(*), count(run_id), count(DISTINCT run_id) FROM event").fetchone()
        assert left is not None
        assert left[0] == left[1] == left[2], f"{left[0]} events, {left[1]} marked, by {left[2]} runs"


def _react(deployment: Deployment, connection: psycopg.Connection[Any], pause: float) -> float:
    time.sleep(pause)
    started = time.perf_counter()
    row = connection.execute(INSERT).fetchone()
    assert row is not None

    def finished() -> str | None:
        found = connection.execute(FINISHED, [row[0]]).fetchone()
        return None if found is None else str(found[0])

    try:
        status = wait_until(finished, "the run to finish", every=0.005)
    except (TimeoutError, psycopg.Error):
        print(deployment.log())
        raise
    assert status == "SUCCESS", deployment.log()
    return time.perf_counter() - started


def _rows(taken: dict[str, list[float]], rounds: int) -> list[Row | None]:
    what = "event → run SUCCESS, one asset"
    return [
        _row(taken, what, "ours", "best stock", Limit(at_most=1 / 8), rounds),
        _row(taken, what, "ours", "Dagster's defaults", Limit(at_most=1 / 15), rounds),
        _row(taken, f"{what}, heavy imports", "ours, heavy imports", "best stock, heavy imports", None, rounds),
        _row(taken, "heavy / light imports", "ours, heavy imports", "ours", Limit(at_most=1.1), rounds),
    ]


def _row(
    taken: dict[str, list[float]], what: str, subject: str, peer: str, limit: Limit | None, rounds: int
) -> Row | None:
    if subject not in taken or peer not in taken:
        return None
    return Row(
        goal="P1",
        what=what,
        unit="s",
        value=statistics.median(taken[subject]),
        peer_name=peer,
        peer=statistics.median(taken[peer]),
        ratio=paired_ratio(taken[subject], taken[peer]),
        limit=limit,
        samples=rounds,
    )
