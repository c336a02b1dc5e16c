"""The one sensor: asks for a run per chain and range of days as soon as rows wait; plus what it observed of the inputs.

It waits in LISTEN within its tick, and there are three copies that take turns, so that one is always listening.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from assets.quality import achievements_quality
from resources.database import database_url
from threads_agent_dagster.dagster_fast.sensing import wait_for_work
from threads_agent_dagster.db.pending import CHANNEL, Waiting, release_orphans, waiting

if TYPE_CHECKING:
    from sqlalchemy import Engine

COPIES = 3
WAIT_SECONDS = 50.0  # Dagster gives up on a tick after 60
RECHECK_SECONDS = 2.0  # for what comes with time alone: leases that end, retries, chains that were busy
TURN = 7_202_600_001  # PostgreSQL's number of the advisory lock; any that nobody else takes
MOST_REQUESTS = 10
BRIDGE = timedelta(days=31)  # a gap this short costs less than one more run
CHAINS: Mapping[str, Sequence[str]] = {
    "content_chain": ("posts", "emotion_trajectories", "post_engagement", "dashboard_metrics"),
    "achievements_chain": ("achievements", "dashboard_metrics"),
    "experiments_chain": ("variant_performance", "experiment_verdicts", "dashboard_metrics"),
    "vectors_chain": ("achievement_embeddings", "achievement_themes"),  # apart: slow, and nothing waits for it
}
CHAIN_OF = {asset: chain for chain, assets in CHAINS.items() for asset in assets if asset != "dashboard_metrics"}
UNPARTITIONED = {"experiments_chain", "vectors_chain"}
OBSERVED = {"task": "tasks", "inbox": "github_deliveries", "commit": "git_commits", "variant": "observations"}
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

chains = [
    dg.define_asset_job(
        chain,
        selection=dg.AssetSelection.assets(*assets) - dg.AssetSelection.checks(achievements_quality),
        executor_def=dg.in_process_executor,
        description=f"Works on what waits for {' → '.join(assets)}.",
        tags={"chain": chain},
    )
    for chain, assets in CHAINS.items()
]


@dataclass(frozen=True, slots=True)
class Range:
    """Neighbouring days of one chain on which rows wait; `newest` is their largest change."""

    chain: str
    start: date
    end: date
    rows: int
    newest: int


def ranges(found: Sequence[Waiting]) -> list[Range]:
    """Joins the days of each chain into ranges, bridging short gaps; the newest days first."""
    joined: list[Range] = []
    for chain in CHAINS:
        mine = sorted((one for one in found if CHAIN_OF.get(one.asset) == chain), key=lambda one: one.day)
        for one in mine:
            last = joined[-1] if joined else None
            if last is not None and last.chain == chain and (chain in UNPARTITIONED or one.day - last.end <= BRIDGE):
                joined[-1] = Range(chain, last.start, one.day, last.rows + one.rows, max(last.newest, one.newest))
            else:
                joined.append(Range(chain, one.day, one.day, one.rows, one.newest))
    return sorted(joined, key=lambda one: one.end, reverse=True)


def request(one: Range, minute: str) -> dg.RunRequest:
    """A run that drains the range; the same waiting rows ask at most once a minute."""
    run_key = f"{one.chain}:{one.start}:{one.end}:{one.newest}:{minute}"
    if one.chain in UNPARTITIONED:
        return dg.RunRequest(run_key, job_name=one.chain)
    days = {RANGE_START: one.start.isoformat(), RANGE_END: one.end.isoformat()}
    return dg.RunRequest(run_key, job_name=one.chain, tags=days)


def observations(found: Sequence[Waiting]) -> Iterator[dg.AssetObservation]:
    """What waits of each input table, day by day."""
    for one in found:
        if (asset := OBSERVED.get(one.kind)) is not None:
            partition = None if one.asset == "variant_performance" else one.day.isoformat()
            yield dg.AssetObservation(asset, partition=partition, metadata={"waiting_rows": one.rows})


def _tick(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    from threads_agent_dagster.db.engine import make_engine

    url = database_url()
    engine = make_engine(url, pool_size=1, application="threads-agent-sensor")
    try:
        found = wait_for_work(
            url,
            CHANNEL,
            WAIT_SECONDS,
            TURN,
            find=lambda _: startable(engine, context.instance),
            recheck_seconds=RECHECK_SECONDS,
        )
    finally:
        engine.dispose()
    if not found:
        return dg.SkipReason("nothing waits that no run works on")
    minute = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M")
    return dg.SensorResult(
        run_requests=[request(one, minute) for one in ranges(found)[:MOST_REQUESTS]],
        asset_events=list(observations(found[:MOST_REQUESTS])),
    )


def startable(engine: "Engine", instance: dg.DagsterInstance) -> list[Waiting]:
    """What waits of the chains that have no unfinished run; what a dead worker had claimed waits again."""
    with engine.begin() as connection:
        release_orphans(connection)
        found = waiting(connection)
    busy = _busy_chains(instance) if found else set()
    return [one for one in found if one.asset in CHAIN_OF and CHAIN_OF[one.asset] not in busy]


def _busy_chains(instance: dg.DagsterInstance) -> set[str]:
    unfinished = dg.RunsFilter(statuses=_UNFINISHED)
    return {run.job_name for run in instance.get_runs(unfinished)} & set(CHAINS)


pending_work = [
    dg.SensorDefinition(
        name=f"pending_work_{copy}",
        evaluation_fn=_tick,
        jobs=chains,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New tasks, GitHub deliveries, imports, edits and observations: whatever waits gets a run at once. "
        f"One of {COPIES} that take turns to listen.",
    )
    for copy in range(1, COPIES + 1)
]
