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

import httpx
import psutil
import psycopg

from threads_agent_dagster.local import status
from threads_agent_dagster.local.endpoints import Endpoints
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.processes import end_marked, end_server, marked

PATIENCE = 180.0  # s; what is not back by then is a failure, not a figure
STOPPED_SECONDS = 40.0  # longer than a lease
WEIGHTS = {"api": 20, "postgres": 15, "run worker": 15, "daemon": 6, "code": 4, "run-host": 6}
ZOMBIES = {"stopped worker": 6}
UNFINISHED = "SELECT run_id FROM dagster.runs WHERE status IN ('NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"
STARTED = "SELECT run_id FROM dagster.runs WHERE status = 'STARTED'"
SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on"}


@dataclass
class Platform:
    """`threads-agent up` in a home of its own, in the foreground of a session of its own."""

    folder: Path
    environment: dict[str, str]
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
        with (self.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "threads_agent_dagster.cli", "up", "--ports", "auto"],
                env=os.environ | self.environment | {"THREADS_AGENT_HOME": str(self.folder)},
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

    def ask(self, statement: str) -> list[str]:
        with psycopg.connect(self.endpoints.database_url, connect_timeout=5) as connection:
            return [row[0] for row in connection.execute(statement.encode())]

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
            time.sleep(0.1)
        return time.monotonic() - began

    def unsafe_settings(self) -> list[str]:
        """What would make a killed server forget what it acknowledged: SIGKILL alone does not prove it."""
        return [name for name, safe in SAFE.items() if self.ask(f"SHOW {name}") != [safe]]


@dataclass
class Strikes:
    """Kills by kind, and for each kind the seconds until what it hit worked again."""

    platform: Platform
    chance: random.Random
    weights: dict[str, int]
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    missed: int = 0
    _timers: list[threading.Timer] = field(default_factory=list)

    def once(self, kind: str | None = None) -> None:
        kind = kind or self.chance.choices(list(self.weights), list(self.weights.values()))[0]
        strike = {"run worker": self._worker, "stopped worker": self._stop, "everything": self._everything}
        seconds = strike[kind]() if kind in strike else self._service(kind)
        if seconds is None:
            self.missed += 1
        else:
            self.recoveries.setdefault(kind, []).append(seconds)

    def finish(self) -> None:
        for timer in self._timers:
            timer.join()

    def _service(self, name: str) -> float:
        pid = self.platform.pid(name)
        os.kill(pid, signal.SIGKILL)
        return self.platform.wait(f"the next {name}", lambda: self._is_back(name, pid))

    def _is_back(self, name: str, old: int) -> bool:
        now = next(service for service in status.of(self.platform.home).services if service["name"] == name)
        if now["pid"] == old or now["state"] != "running":
            return False
        try:
            if name in ("api", "postgres"):
                return httpx.get(f"{self.platform.endpoints.orchestrator}/readyz", timeout=10).is_success
        except httpx.HTTPError:
            return False
        return True

    def _victim(self) -> psutil.Process | None:
        """A worker that works; runs are short, so one is waited for."""
        with suppress(AssertionError):
            self.platform.wait("a run worker", lambda: bool(self.platform.workers()), 10)
        found = self.platform.workers()
        return self.chance.choice(found) if found else None

    def _worker(self) -> float | None:
        victim = self._victim()
        if victim is None:
            return None
        before = set(self.platform.ask(STARTED))
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return None
        return self.platform.wait(
            "the killed run to be closed", lambda: not before & set(self.platform.ask(STARTED)), PATIENCE
        )

    def _stop(self) -> float | None:
        """A zombie: stopped while others go on, then it goes on itself."""
        victim = self._victim()
        if victim is None:
            return None
        with suppress(psutil.NoSuchProcess):
            victim.suspend()
            timer = threading.Timer(STOPPED_SECONDS, _resume, [victim])
            timer.start()
            self._timers.append(timer)
            return STOPPED_SECONDS
        return None

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


def _resume(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.resume()


@contextmanager
def running(folder: Path, secret: str) -> Iterator[Platform]:
    platform = Platform(folder, {"GITHUB_WEBHOOK_SECRET": secret, "DATABASE_URL": ""})
    try:
        platform.start()
        yield platform
    finally:
        platform.end()
