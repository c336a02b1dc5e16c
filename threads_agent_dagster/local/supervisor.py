"""Keeps services running: starts them in order, restarts what dies with a growing delay, stops them in reverse.

One loop in one thread. What it sees goes to `report` (people) and to the state file (programs).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import psutil

from threads_agent_dagster.errors import ThreadsAgentError, Unavailable
from threads_agent_dagster.local.home import write_json
from threads_agent_dagster.local.logs import LARGEST_BYTES, bound
from threads_agent_dagster.local.services import Service

POLL_SECONDS = 0.1
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 30.0
STABLE_SECONDS = 3.0  # alive for this long, the next death counts as a first one
READY_SECONDS = 180.0

Report = Callable[[str], None]


@dataclass
class Watched:
    """A service with what happened to it."""

    service: Service
    started_at: float = 0.0  # s, monotonic
    restarts: int = 0
    delay: float = FIRST_DELAY_SECONDS
    due: float | None = None  # when to start it again, s monotonic; None while it runs

    def as_json(self) -> dict[str, Any]:
        """What the state file says of it."""
        return {
            "name": self.service.name,
            "pid": self.service.pid,
            "state": "running" if self.due is None else "waiting to restart",
            "restarts": self.restarts,
            "log": str(self.service.log),
        }


class Supervisor:
    """Looks after services from `start` to `stop`."""

    def __init__(self, state: Path, report: Report, largest_log: int = LARGEST_BYTES) -> None:
        self._state = state
        self._report = report
        self._largest_log = largest_log  # bytes
        self._watched: list[Watched] = []

    def start(self, services: Sequence[Service], ready_seconds: float = READY_SECONDS) -> None:
        """Start services together and wait until each is ready. Raises Unavailable naming the one that is not."""
        for service in services:
            watched = Watched(service)
            self._watched.append(watched)
            service.start()
            watched.started_at = time.monotonic()
            self._write_state()
        deadline = time.monotonic() + ready_seconds
        for service in services:
            self._await_ready(service, deadline)

    def watch(self, stop: Event) -> None:
        """Restart what dies and bound the logs until `stop` is set."""
        while not stop.wait(POLL_SECONDS):
            for watched in self._watched:
                self._look_after(watched)
                bound(watched.service.log, self._largest_log)

    def stop(self) -> None:
        """Stop everything, last started first."""
        while self._watched:
            self._watched.pop().service.stop()
        self._state.unlink(missing_ok=True)

    def _await_ready(self, service: Service, deadline: float) -> None:
        while not service.is_ready():
            if not service.is_alive():
                raise Unavailable(f"{service.name} did not start ({service.exit_reason()}): {_tail(service.log)}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{service.name} runs but does not answer; see {service.log}")
            time.sleep(POLL_SECONDS)

    def _look_after(self, watched: Watched) -> None:
        now = time.monotonic()
        if watched.due is None and not watched.service.is_alive():
            if now - watched.started_at > STABLE_SECONDS:
                watched.delay = FIRST_DELAY_SECONDS
            self._schedule(watched, now, f"ended ({watched.service.exit_reason()})")
        elif watched.due is not None and now >= watched.due:
            self._restart(watched, now)

    def _schedule(self, watched: Watched, now: float, what: str) -> None:
        watched.due = now + watched.delay
        name, log = watched.service.name, watched.service.log
        self._report(f"{name} {what}; restarting in {watched.delay:g} s; its log: {log}")
        watched.delay = min(watched.delay * 2, LONGEST_DELAY_SECONDS)
        self._write_state()

    def _restart(self, watched: Watched, now: float) -> None:
        watched.restarts += 1
        try:
            watched.service.start()
        except ThreadsAgentError as error:
            self._schedule(watched, now, f"could not start ({error})")
            return
        watched.started_at, watched.due = now, None
        self._report(f"{watched.service.name} runs again")
        self._write_state()

    def _write_state(self) -> None:
        me = psutil.Process(os.getpid())
        services = [watched.as_json() for watched in self._watched]
        write_json(self._state, {"pid": me.pid, "created": me.create_time(), "services": services})


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'it said nothing'} (whole log: {log})"
