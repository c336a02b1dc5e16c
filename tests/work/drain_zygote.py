"""Forks workers that drain a toy table, so that a test can kill and stop hundreds of them cheaply.

Usage: drain_zygote.py DATABASE_URL LEASE_SECONDS; each line on stdin forks one worker and prints its pid.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from sqlalchemy import text

from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.work.drain import Job, Origin, drain

READ = text(
    "SELECT 'input:' || id, id, value FROM fence_inputs WHERE 'input:' || id = ANY(cast(:keys AS text[])) ORDER BY id"
)
WRITE = text(
    "INSERT INTO fence_outputs (id, value) SELECT * FROM unnest(cast(:ids AS int[]), cast(:values AS bigint[])) "
    "ON CONFLICT (id) DO UPDATE SET value = excluded.value"
)


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
    database_url, lease = sys.argv[1], float(sys.argv[2])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            work(database_url, lease)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
