"""Forks drains that come to harm at their nth commit, so that a test can try each of them cheaply.

Usage: failpoint_zygote.py DATABASE_URL ASSET; each line `crash|error|overtaken before|after N` forks one drain of
that asset and prints how it ended: -9 killed, 1 failed, 0 finished, 3 finished without reaching the failpoint. The
platform has no hook for this: SQLAlchemy tells of every commit, and nothing else is durable.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.domain.emotions import load_scorer
from threads_agent_dagster.work import achievements, emotions, posts
from threads_agent_dagster.work.drain import Job, Origin, drain

UNREACHED = 3
JOBS: dict[str, Job[Any, Any]] = {
    "posts": posts.job(),
    "achievements": achievements.job(),
    "emotion_trajectories": emotions.job(scorer_name="vader"),
}
EXPIRE = text(
    "UPDATE pending SET lease_until = '2020-01-01' WHERE ctid IN "
    "(SELECT ctid FROM pending WHERE lease_until IS NOT NULL FOR UPDATE SKIP LOCKED)"
)


class Failpoint:
    """Does harm right before the nth commit, or after it and before the next transaction begins its work."""

    def __init__(
        self, engine: Engine, database_url: str, job: Job[Any, Any], action: str, place: str, number: int
    ) -> None:
        self.reached = False
        self._job = job
        self._url, self._action, self._place, self._number = database_url, action, place, number
        self._commits = 0
        event.listen(engine, "commit", self._commit)
        event.listen(engine, "begin", self._begin)

    def _commit(self, connection: Connection) -> None:
        self._commits += 1
        if self._place == "before":
            self._harm()

    def _begin(self, connection: Connection) -> None:
        if self._place == "after":
            self._harm()

    def _harm(self) -> None:
        if self.reached or self._commits != self._number:
            return
        self.reached = True
        if self._action == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._action == "error":
            raise RuntimeError("the failpoint")
        self._overtake()

    def _overtake(self) -> None:
        """The lease ends here, and another worker does all there is to do before this one goes on."""
        other = make_engine(self._url)
        with other.begin() as connection:
            connection.execute(EXPIRE)
        drain(other, self._job, None, Origin(None, "1"))
        other.dispose()


def work(database_url: str, asset: str, action: str, place: str, number: int) -> int:
    engine = make_engine(database_url)
    job = JOBS[asset]
    failpoint = Failpoint(engine, database_url, job, action, place, number)
    try:
        # The lease is so long that no heartbeat commits meanwhile, which would move the count.
        drain(engine, job, None, Origin(None, "1"), lease_seconds=3600)
    except RuntimeError:
        return 1
    return 0 if failpoint.reached else UNREACHED


def main() -> None:
    database_url, asset = sys.argv[1:]
    load_scorer("vader")
    for line in sys.stdin:
        action, place, number = line.split()
        pid = os.fork()
        if pid == 0:
            os._exit(work(database_url, asset, action, place, int(number)))
        _, ended = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
