"""What a supervisor looks after: programs, the embedded PostgreSQL, and the watchdog that outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import psutil

from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.local.ports import is_free
from threads_agent_dagster.local.postgres import EmbeddedPostgres
from threads_agent_dagster.local.processes import MARKER, describe, end_marked, listener, marked


class Service(Protocol):
    """Something that runs, can be seen to have died, and can be started again."""

    @property
    def name(self) -> str: ...

    @property
    def log(self) -> Path: ...

    @property
    def pid(self) -> int | None: ...

    def start(self) -> None:
        """Begin; raises Unavailable or Conflict when that is not possible now."""

    def is_alive(self) -> bool: ...

    def is_ready(self) -> bool:
        """Whether it answers. Called again and again, so it returns within seconds."""

    def stop(self) -> None:
        """End it and all that it began; returns when nothing of it is left."""

    def exit_reason(self) -> str:
        """Why it is not alive, in words."""


@dataclass
class Program:
    """A command with its log file, the ports it listens on and a question that tells when it is ready."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    home_key: str
    ready: Callable[[], bool]
    ports: Sequence[int] = ()
    host: str = "127.0.0.1"
    grace_seconds: float = 10.0
    after_end: Callable[[], None] | None = None  # what must be put right when it died, before it starts again
    outlived: bool = False  # its children go on without it, and it knows them again when it is restarted
    standby: bool = False  # the next one waits beside it, see `local.standby`
    _process: subprocess.Popen[bytes] | psutil.Process | None = field(default=None, init=False)
    _line: int | None = field(default=None, init=False)  # by which the one that waits is told to serve

    @property
    def _marker(self) -> str:
        return f"{self.home_key}/{self.name}/"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it, after ending what an earlier life left: two listeners on one port would share its requests."""
        waiting = self._waiting()
        if self._process is not None:
            self._clear_up(waiting)
        self._refuse_second_listener()
        if not self.standby:
            self._process = self._begin(subprocess.DEVNULL)
            return
        self._process = waiting or self._first()
        assert self._line is not None
        with suppress(BrokenPipeError):  # it died just now, which is seen at the next look
            os.write(self._line, b"\n")

    def _clear_up(self, waiting: psutil.Process | None) -> None:
        """End its children at once: nobody is left for whom they could finish anything."""
        if not self.outlived:
            end_marked(self._marker, 0, spared=waiting.pid if waiting else None)
        if isinstance(self._process, subprocess.Popen):
            self._process.wait()
        if self.after_end is not None:
            self.after_end()

    def _waiting(self) -> psutil.Process | None:
        """The one that waits, which has the command of the one that died; the children have others."""
        with suppress(psutil.NoSuchProcess):  # it died just now
            for process in marked(self._marker) if self._line is not None else []:
                if process.cmdline() == list(self.command):
                    return process
        return None

    def _first(self) -> subprocess.Popen[bytes]:
        if self._line is not None:
            os.close(self._line)
        hears, self._line = os.pipe()
        try:
            return self._begin(hears)
        finally:
            os.close(hears)

    def _begin(self, stdin: int) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**self.environment, MARKER: self._marker},
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor only, which stops in order
            )

    def is_alive(self) -> bool:
        if isinstance(self._process, psutil.Process):
            with suppress(psutil.NoSuchProcess):
                return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
            return False
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        return self.ready()

    def stop(self) -> None:
        end_marked(self._marker, self.grace_seconds)
        if isinstance(self._process, subprocess.Popen):
            self._process.wait()

    def exit_reason(self) -> str:
        if isinstance(self._process, psutil.Process):
            return "its parent was the one before it, so nobody was told why"
        return "it was never started" if self._process is None else _reason(self._process.poll())

    def _refuse_second_listener(self) -> None:
        for port in self.ports:
            if not is_free(port, self.host):
                holder = listener(port)
                by = describe(holder) if holder else "another user's process"
                raise Unavailable(f"{self.name} needs port {port}, which {by} has taken")


@dataclass
class Database:
    """The embedded PostgreSQL as a service."""

    server: EmbeddedPostgres
    name: str = "postgres"

    @property
    def log(self) -> Path:
        return self.server.log

    @property
    def pid(self) -> int | None:
        return self.server.pid

    def start(self) -> None:
        self.server.start()

    def is_alive(self) -> bool:
        return self.server.is_alive()

    def is_ready(self) -> bool:
        return self.server.is_alive()

    def stop(self) -> None:
        self.server.stop()

    def exit_reason(self) -> str:
        return _reason(self.server.exit_code)


@dataclass
class Watchdog:
    """The process that sweeps when the supervisor is killed; it holds the supervisor's lock as long."""

    home_key: str
    log: Path
    lock: IO[str]
    cluster: Path | None
    name: str = "watchdog"
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        clusters = [] if self.cluster is None else [str(self.cluster)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "threads_agent_dagster.local.watchdog", self.home_key, *clusters],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[self.lock.fileno()],
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        return self.is_alive()

    def stop(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def exit_reason(self) -> str:
        return "it was never started" if self._process is None else _reason(self._process.poll())


def _reason(code: int | None) -> str:
    if code is None:
        return "it still runs"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
