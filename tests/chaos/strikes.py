"""A platform of its own, struck at by a seeded schedule; every recovery is waited for and measured."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from threads_agent_dagster.dagster_fast import wire
from threads_agent_dagster.dagster_fast.worker import WORKER_TAG, Identity
from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.local import status
from threads_agent_dagster.local.dagster_home import run_socket
from threads_agent_dagster.local.endpoints import Endpoints
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.ports import free_ports
from threads_agent_dagster.local.processes import end_marked, end_server, marked

PATIENCE = 600.0  # s; what is not back by then is a failure, not a figure
STOPPED_SECONDS = 40.0  # longer than a lease
SECOND_DAEMON_SECONDS = 30.0
VICTIM_SECONDS = 10.0
GOALS = {"api": 3, "postgres": 5, "run worker": 15, "daemon": 30, "code": 30, "everything": 60}  # s until it is back
UNFINISHED = "SELECT run_id FROM dagster.runs WHERE status IN ('NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"
WORKER_OF = "SELECT value FROM dagster.run_tags WHERE key = 'dagster_fast/worker' AND run_id = %s"
STARTED = "SELECT run_id FROM dagster.runs WHERE status = 'STARTED'"
CLAIMS = "SELECT DISTINCT claim FROM pending WHERE claim IS NOT NULL"
HELD = "SELECT claim FROM pending WHERE claim = ANY(%s)"
NAIVELY_TAKEN = (  # what the naive way has gone past and not stored yet
    "SELECT key FROM pending JOIN naive_cursor USING (asset) "
    "WHERE change <= value AND pid = %(pid)s AND asset IN ('posts', 'emotion_trajectories')"
)
RUN_OF = (
    "SELECT run_id FROM dagster.run_tags JOIN dagster.runs USING (run_id) "
    "WHERE key = 'dagster_fast/worker' AND value = %s AND status = 'STARTED'"
)
# Somebody listens for work who began after that moment, or a run was asked for since: daemon and code server both work.
SENSING = """
SELECT 1 FROM pg_stat_activity WHERE application_name = 'sensor' AND backend_start > to_timestamp(%(since)s)
UNION ALL SELECT 1 FROM dagster.runs WHERE create_timestamp > to_timestamp(%(since)s) AT TIME ZONE 'UTC' LIMIT 1
"""
PORTS = ("ORCHESTRATOR", "ACHIEVEMENTS", "PROMPTS", "DAGSTER", "DASH")
SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on"}


@dataclass
class Platform:
    """`threads-agent up` in a home of its own, in the foreground of a session of its own."""

    folder: Path
    environment: dict[str, str]
    demo: bool = False
    ports: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Home:
        return Home(self.folder)

    @property
    def endpoints(self) -> Endpoints:
        found = status.of(self.home).endpoints
        assert found is not None, "the platform is not ready"
        return found

    def start(self) -> None:
        if not self.ports:  # the same after everything was killed, so that whoever knew the addresses finds it again
            self.ports |= {
                f"THREADS_AGENT_{name}_PORT": str(port)
                for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)
            }
        with (self.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "threads_agent_dagster.cli", "up", *(["--demo"] if self.demo else [])],
                env=os.environ | self.environment | self.ports | {"THREADS_AGENT_HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait("the platform to be ready", self.is_ready)

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "up.log").read_text()[-2000:]
        return status.of(self.home).ready

    def end(self) -> None:
        if self.process is not None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
            self.process.wait()
        end_marked(f"{self.home.key}/", 5)
        end_server(self.home.postgres / "cluster")

    def pid(self, name: str) -> int:
        return int(next(service["pid"] for service in status.of(self.home).services if service["name"] == name))

    def ask(self, statement: str, *values: Any, **named: Any) -> list[Any]:
        with psycopg.connect(self.endpoints.database_url, connect_timeout=5) as connection:
            return [row[0] for row in connection.execute(statement.encode(), named or values)]

    def workers(self) -> list[psutil.Process]:
        """The forked run workers that live now, also those whose host was killed."""
        host = self.pid("run-host")
        return [process for process in marked(f"{self.home.key}/run-host/") if process.pid != host]

    def wait(self, what: str, condition: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Seconds until it held."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"still waiting for {what} after {seconds:.0f} s")
            time.sleep(0.05)
        return time.monotonic() - began

    def orphans(self) -> list[str]:
        """The runs that are STARTED though the process that executed them is gone."""
        return [run_id for run_id in self.ask(STARTED) if not self._is_executed(run_id)]

    def _is_executed(self, run_id: str) -> bool:
        found = [Identity.from_tags({WORKER_TAG: value}) for value in self.ask(WORKER_OF, run_id)]
        return any(worker is not None and worker.is_alive() for worker in found)

    def unsafe_settings(self) -> list[str]:
        """What would make a killed server forget what it acknowledged: SIGKILL alone does not prove it."""
        return [name for name, safe in SAFE.items() if self.ask(f"SHOW {name}") != [safe]]


@dataclass
class Strikes:
    """Kills by kind, and for each kind the seconds until what it hit worked again."""

    platform: Platform
    chance: random.Random
    naive: bool = False
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    missed: int = 0
    last: float = 0.0  # s, monotonic; when the last one was struck
    _timers: list[threading.Timer] = field(default_factory=list)
    _caught: int = 0

    def once(self, kind: str) -> None:
        own = {
            "run worker": self._worker,
            "stopped worker": self._stop,
            "second daemon": self._second_daemon,
            "everything": self._everything,
        }
        self.last = time.monotonic()
        seconds = own[kind]() if kind in own else self._service(kind)
        if seconds is None:
            self.missed += 1
        else:
            self.recoveries.setdefault(kind, []).append(seconds)

    def finish(self) -> None:
        for timer in self._timers:
            timer.join()

    def _service(self, name: str) -> float:
        pid, since = self.platform.pid(name), time.time()
        os.kill(pid, signal.SIGKILL)
        return self.platform.wait(f"the next {name}", lambda: self._is_back(name, pid, since))

    def _is_back(self, name: str, old: int, since: float) -> bool:
        now = next(service for service in status.of(self.platform.home).services if service["name"] == name)
        if now["pid"] == old or now["state"] != "running":
            return False
        try:
            if name in ("api", "postgres"):
                return httpx.get(f"{self.platform.endpoints.orchestrator}/readyz", timeout=10).is_success
            if name in ("daemon", "code"):
                return bool(self.platform.ask(SENSING, since=since))
            wire.ask(run_socket(self.platform.home), {"op": "status", "run_id": ""}, patience=0.0, timeout=2.0)
        except (httpx.HTTPError, psycopg.OperationalError, Unavailable):
            return False
        return True

    def _victim(self) -> tuple[psutil.Process, str] | None:
        """A worker that works, and its run; runs are short, so one is waited for."""
        until = time.monotonic() + VICTIM_SECONDS
        while time.monotonic() < until:
            workers = self.platform.workers()
            if workers:
                victim = self.chance.choice(workers)
                runs = self.platform.ask(RUN_OF, str(Identity.of(victim.pid)))
                if runs:
                    return victim, runs[-1]
            time.sleep(0.02)
        return None

    def _worker(self) -> float | None:
        """Until its run is closed and every row that was held when it died is free, held anew or done."""
        found = self._victim()
        if found is None:
            return None
        victim, run_id = found
        try:
            self._catch(victim)
            claims = self.platform.ask(CLAIMS)
            victim.kill()
        except psutil.NoSuchProcess:
            return None
        return self.platform.wait(
            "the killed run to be closed and its rows to be free", lambda: self._is_over(run_id, claims)
        )

    def _catch(self, victim: psutil.Process) -> None:
        """Lets it go on, every other time until rows are held, and until it holds some itself where that is known.

        Raises NoSuchProcess when it ends before that.
        """
        self._caught += 1
        if self._caught % 2 and not self.naive:
            time.sleep(self.chance.uniform(0, 0.3))
            return
        while True:  # it stands still while it is looked at: what is seen is still so when it is killed
            victim.suspend()
            if self.platform.ask(NAIVELY_TAKEN, pid=victim.pid) if self.naive else self.platform.ask(CLAIMS):
                return
            victim.resume()
            time.sleep(0.005)

    def _is_over(self, run_id: str, claims: list[Any]) -> bool:
        return run_id not in self.platform.ask(UNFINISHED) and not self.platform.ask(HELD, claims)

    def _stop(self) -> float | None:
        """A zombie: stopped while others go on, then it goes on itself."""
        found = self._victim()
        if found is None:
            return None
        victim, _ = found
        with suppress(psutil.NoSuchProcess):
            victim.suspend()
            self._later(STOPPED_SECONDS, victim.resume)
            return STOPPED_SECONDS
        return None

    def _second_daemon(self) -> float:
        """Another one beside the first, as an overlapping deployment starts it; after a while it is killed."""
        first = psutil.Process(self.platform.pid("daemon"))
        with (self.platform.folder / "second-daemon.log").open("ab") as log:
            second = subprocess.Popen(first.cmdline(), env=first.environ(), cwd=first.cwd(), stdout=log, stderr=log)
        self._later(SECOND_DAEMON_SECONDS, lambda: (second.kill(), second.wait()))
        return SECOND_DAEMON_SECONDS

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, _unless_gone, [action])
        timer.start()
        self._timers.append(timer)

    def _everything(self) -> float:
        family = marked(f"{self.platform.home.key}/")
        assert self.platform.process is not None
        began = time.monotonic()
        self.platform.process.kill()
        self.platform.process.wait()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.platform.wait("everything to end", lambda: not marked(f"{self.platform.home.key}/"))
        self.platform.start()
        return time.monotonic() - began


def _unless_gone(action: Callable[[], object]) -> None:
    with suppress(psutil.NoSuchProcess):
        action()


@contextmanager
def running(folder: Path, environment: dict[str, str], *, demo: bool = False) -> Iterator[Platform]:
    platform = Platform(folder, {"DATABASE_URL": ""} | environment, demo)
    try:
        platform.start()
        yield platform
    finally:
        platform.end()
