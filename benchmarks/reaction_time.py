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
from collections.abc import Callable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class Comparison:
    """Sides that run at the same time, the subject first, and the goals of its ratios to the others.

    Every deployment that merely stands by takes time from the others, so only those that are compared are up.
    """

    what: str
    subject: str
    peers: Mapping[str, Limit | None]
    rounds: int = 5


EVENT_TO_SUCCESS = "event → run SUCCESS, one asset"
COMPARISONS = (
    Comparison(
        EVENT_TO_SUCCESS, "ours", {"best stock": Limit(at_most=1 / 8), "Dagster's defaults": Limit(at_most=1 / 15)}
    ),
    Comparison(f"{EVENT_TO_SUCCESS}, heavy imports", "ours, heavy imports", {"best stock, heavy imports": None}),
    Comparison("heavy / light imports", "ours, heavy imports", {"ours": Limit(at_most=1.1)}, rounds=15),
)
SMOKE = Comparison(EVENT_TO_SUCCESS, "ours", {"best stock": None}, rounds=1)


def run(size: Size) -> list[Row]:
    return [row for comparison in (COMPARISONS if size is Size.FULL else [SMOKE]) for row in _compare(comparison)]


def _compare(comparison: Comparison) -> list[Row]:
    every = subjects()
    sides = [every[name] for name in (comparison.subject, *comparison.peers)]
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as url, ExitStack() as stack:
        taken = _measure(stack, Path(folder), url, sides, comparison.rounds)
    return [_row(comparison, peer, taken) for peer in comparison.peers]


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


def _row(comparison: Comparison, peer: str, taken: dict[str, list[float]]) -> Row:
    subject = taken[comparison.subject]
    return Row(
        goal="P1",
        what=comparison.what,
        unit="s",
        value=statistics.median(subject),
        peer_name=peer,
        peer=statistics.median(taken[peer]),
        ratio=paired_ratio(subject, taken[peer]),
        limit=comparison.peers[peer],
        samples=comparison.rounds,
    )
