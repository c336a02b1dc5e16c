"""Forks workers that drain a toy table, so that a test can kill and stop hundreds of them cheaply.

Usage: drain_zygote.py DATABASE_URL token|counter LEASE_SECONDS; each line on stdin forks one worker and prints its pid.
With `counter` the fence is made of counters per row, which restart when a row was deleted: the mistake that the
platform's sequence tokens exist to avoid.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from sqlalchemy import text

from threads_agent_dagster.db import pending
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.work.drain import Job, Origin, drain

READ = text(
    "SELECT 'input:' || id, id, value FROM fence_inputs WHERE 'input:' || id = ANY(cast(:keys AS text[])) ORDER BY id"
)
WRITE = text(
    "INSERT INTO fence_outputs (id, value) SELECT * FROM unnest(cast(:ids AS int[]), cast(:values AS bigint[])) "
    "ON CONFLICT (id) DO UPDATE SET value = excluded.value"
)
COUNTER_CLAIM = """
WITH chosen AS MATERIALIZED (
    SELECT asset, key FROM pending WHERE asset = :asset AND dead_at IS NULL AND :limit > 0 AND :holder > 0
    AND (lease_until IS NULL OR lease_until < clock_timestamp()) AND cast(:first AS date) IS NOT DISTINCT FROM :last
    ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE pending SET claim = pending.attempts + 1, attempts = pending.attempts + 1,
    lease_until = clock_timestamp() + make_interval(secs => :lease)
FROM chosen WHERE pending.asset = chosen.asset AND pending.key = chosen.key
RETURNING pending.claim AS token, pending.key, pending.day, pending.change, pending.attempts, pending.priority
"""


def result_of(value: int) -> int:
    return value * 7 + 1


def compute(rows: list[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    time.sleep(random.random() * 0.4)
    return {key: (id_, result_of(value)) for key, id_, value in rows}


def store(connection, results, origin) -> set[str]:  # type: ignore[no-untyped-def]
    ids, values = zip(*sorted(results.values()), strict=True)
    connection.execute(WRITE, {"ids": list(ids), "values": list(values)})
    return set()


JOB = Job(
    asset="fence",
    code_version="1",
    load=lambda connection, rows: [tuple(row) for row in connection.execute(READ, {"keys": [one.key for one in rows]})],
    compute=compute,
    store=store,
    batch_size=4,
)


def work(database_url: str, lease: float) -> None:
    engine = make_engine(database_url, pool_size=2)
    while True:
        drain(engine, JOB, None, Origin(None, "1"), seconds=5, lease_seconds=lease)
        time.sleep(0.02)


def main() -> None:
    database_url, fence, lease = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if fence == "counter":
        pending._CLAIM_FRESH = text(COUNTER_CLAIM)
        pending._CLAIM_AGAIN = text(COUNTER_CLAIM + " -- up to :most")
        pending._HEARTBEAT = text(  # renewing by counter would renew the rows of others with the same count
            "UPDATE pending SET lease_until = lease_until WHERE asset = :asset AND :token < 0 AND :lease < 0"
        )
        pending._BURY = text("SELECT NULL AS key, NULL AS error WHERE :asset = '' AND :most = 0")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            work(database_url, lease)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
