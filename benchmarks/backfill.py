"""P4: a backfill of 100 daily partitions in a single run beside a run of one partition, START to SUCCESS.

Both write the same number of rows in all, so that what differs is what Dagster does for a partition.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from benchmarks.deployment import BEST_STOCK, OURS, Deployment, Flavour, postgres
from benchmarks.harness import Limit, Row, Size, alternate, paired_ratio
from benchmarks.launching import Launcher, launching

ROWS = 10_000
FIRST = "2026-01-01"
LAST = {1: "2026-01-01", 100: "2026-04-10"}
CODE = f"""
import os
import dagster as dg
import psycopg

DAYS = dg.DailyPartitionsDefinition(start_date="{FIRST}")
INSERT = "INSERT INTO filled SELECT (%s::date[])[1 + n %% %s], %s FROM generate_series(0, {ROWS - 1}) n"

@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def filled(context: dg.AssetExecutionContext) -> None:
    days = list(context.partition_keys)
    with psycopg.connect(os.environ["BENCH_DATABASE_URL"]) as connection:
        connection.execute(INSERT, [days, len(days), context.run_id])

defs = dg.Definitions(assets=[filled], executor=dg.in_process_executor)
"""
WRITTEN = "SELECT count(*), count(DISTINCT day) FROM filled WHERE run_id = %s"
MATERIALIZED = (
    "SELECT count(*), count(DISTINCT partition) FROM event_logs "
    "WHERE run_id = %s AND dagster_event_type = 'ASSET_MATERIALIZATION'"
)


def run(size: Size) -> list[Row]:
    rounds = 7 if size is Size.FULL else 1
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as url, ExitStack() as stack:
        fill = stack.enter_context(_filling(OURS, Path(folder), url))
        samplers: dict[str, Callable[[], float]] = {"hundred": lambda: fill(100), "one": lambda: fill(1)}
        if size is Size.FULL:
            stock = stack.enter_context(_filling(BEST_STOCK, Path(folder), url))
            samplers |= {"stock": lambda: stock(100)}
        for sample in samplers.values():
            sample()
        taken = alternate(samplers, rounds)
    rows = [_row("backfill of 100 partitions in one run", "one partition", taken, "one", Limit(at_most=4.0))]
    if "stock" in taken:
        rows.append(_row("the same beside stock storage and launcher", "best stock", taken, "stock", None))
    return rows


def _row(what: str, name: str, taken: dict[str, list[float]], peer: str, limit: Limit | None) -> Row:
    ours, theirs = taken["hundred"], taken[peer]
    return Row(
        goal="P4",
        what=what,
        unit="s",
        value=sorted(ours)[len(ours) // 2],
        peer_name=name,
        peer=sorted(theirs)[len(theirs) // 2],
        ratio=paired_ratio(ours, theirs),
        limit=limit,
        samples=len(ours),
    )


@contextmanager
def _filling(flavour: Flavour, folder: Path, server_url: str) -> Iterator[Callable[[int], float]]:
    deployment = Deployment.create(flavour, folder, server_url, CODE)
    with psycopg.connect(deployment.url, autocommit=True) as connection, launching(deployment) as launcher:
        connection.execute("CREATE TABLE filled (day date, run_id text)")
        yield lambda partitions: _fill(launcher, connection, partitions)


def _fill(launcher: Launcher, connection: psycopg.Connection[tuple[int, int]], partitions: int) -> float:
    tags = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST[partitions]}
    run_id = launcher.create(tags)
    seconds = launcher.run(run_id)
    assert connection.execute(WRITTEN, [run_id]).fetchone() == (ROWS, partitions)
    assert connection.execute(MATERIALIZED, [run_id]).fetchone() == (partitions, partitions)
    return seconds
