"""What `threads-agent up` does, in order; what `down` does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Event
from typing import IO, Protocol

from pydantic import SecretStr

from threads_agent_dagster.clients.dagster import DagsterClient
from threads_agent_dagster.errors import ConfigurationError, Conflict
from threads_agent_dagster.local import api_key, archive, dagster_home, schema
from threads_agent_dagster.local.endpoints import SERVICES, Endpoints, supervisor, supervisor_lives
from threads_agent_dagster.local.home import Home, secret_in
from threads_agent_dagster.local.locks import hold
from threads_agent_dagster.local.ports import free_ports, refuse_taken
from threads_agent_dagster.local.postgres import EmbeddedPostgres
from threads_agent_dagster.local.processes import end_marked
from threads_agent_dagster.local.programs import Programs, environment, require_definitions
from threads_agent_dagster.local.services import Database, Watchdog
from threads_agent_dagster.local.supervisor import Supervisor
from threads_agent_dagster.settings import Settings

SWEEP_SECONDS = 30.0  # how long a watchdog may take to end what a killed supervisor left
DOWN_SECONDS = 90.0
GRACE_SECONDS = 10.0


class Reporter(Protocol):
    """Where people see what happens."""

    def step(self, what: str) -> AbstractContextManager[None]:
        """Around one piece of work."""

    def line(self, text: str) -> None:
        """One thing that happened."""


@dataclass(frozen=True)
class Ready:
    """Where a platform answers, and the API key if one had to be made."""

    endpoints: Endpoints
    new_key: str | None


class Platform:
    """One platform in one home, from `start` to `stop`."""

    def __init__(self, settings: Settings, reporter: Reporter) -> None:
        self.home = Home(settings.home)
        self.settings = settings
        self._report = reporter
        self._lock: IO[str] | None = None
        self._supervisor = Supervisor(self.home.state, reporter.line)

    def start(self, *, auto_ports: bool) -> Ready:
        """Bring everything up; returns once all answers.

        Raises Conflict (already running, ports taken), ConfigurationError (newer data), Unavailable (a part that does
        not come up). `stop` is to be called in every case.
        """
        self.home.create()
        self._lock = hold_home(self.home)
        end_marked(f"{self.home.key}/", GRACE_SECONDS)
        self.home.endpoints.unlink(missing_ok=True)
        self._settle_settings(auto_ports)
        database_url = self._start_database()
        endpoints = Endpoints.of(self.settings, database_url, self.home.api_key)
        programs = self._programs(endpoints)
        self._prepare_database(database_url, programs.variables)
        key = api_key.ensure(self.home, database_url)
        self._start_programs(programs)
        endpoints.write(self.home)
        return Ready(endpoints, key)

    def watch(self, stop: Event) -> None:
        """Keep it running until `stop` is set."""
        self._supervisor.watch(stop)

    def stop(self) -> None:
        """End everything, last started first; nothing of it is left afterwards."""
        if self._lock is None:
            return
        self.home.endpoints.unlink(missing_ok=True)
        self._supervisor.stop()
        end_marked(f"{self.home.key}/", GRACE_SECONDS)
        self._lock.close()
        self._lock = None

    def _settle_settings(self, auto_ports: bool) -> None:
        fields = [f"{service}_port" for service in SERVICES]
        chosen = [field for field in fields if auto_ports or getattr(self.settings, field) == 0]
        ports = dict(zip(chosen, free_ports(len(chosen)), strict=True))
        secret = self.settings.github_webhook_secret or SecretStr(secret_in(self.home.webhook_secret))
        self.settings = self.settings.model_copy(update={**ports, "github_webhook_secret": secret})
        refuse_taken({field: getattr(self.settings, field) for field in fields}, self.settings.host)

    def _start_database(self) -> str:
        configured = self.settings.database_url
        _require_own_database(self.settings)
        if configured is not None:
            self._supervisor.start([self._watchdog(None)])
            return configured.get_secret_value()
        own = archive.settings(synchronous=self.settings.backup_synchronous)
        server = EmbeddedPostgres(self.home.postgres, settings=own)
        with self._report.step("PostgreSQL"):
            self._supervisor.start([self._watchdog(server)])
            self._supervisor.start([Database(server)])
        self._start_archive(server)
        return server.url

    def _start_archive(self, server: EmbeddedPostgres) -> None:
        if self.settings.backup_dir is None:
            archive.abandon(server)
            return
        with self._report.step("The archive"):
            receiver, gap = archive.receiver(self.home, server, self.settings.backup_dir.expanduser().absolute())
            self._supervisor.start([receiver])
        if gap:
            self._report.line("the archive was away for too long and begins anew; make a backup now")

    def _watchdog(self, server: EmbeddedPostgres | None) -> Watchdog:
        assert self._lock is not None  # taken first of all
        return Watchdog(self.home.key, self.home.log("watchdog"), self._lock, server.cluster if server else None)

    def _programs(self, endpoints: Endpoints) -> Programs:
        code_port = free_ports(1)[0]
        urls = {
            "orchestrator_url": endpoints.orchestrator,
            "achievement_api_url": endpoints.achievements,
            "prompt_api_url": endpoints.prompts,
            "dagster_url": endpoints.dagster,
            "database_url": SecretStr(endpoints.database_url),
        }
        variables = environment(self.settings.model_copy(update=urls))
        variables |= dagster_home.environment(self.home, self.settings, endpoints.database_url)
        dagster_home.write(self.home, self.settings, code_port)
        return Programs(self.home, self.settings, endpoints, code_port, variables)

    def _prepare_database(self, database_url: str, variables: dict[str, str]) -> None:
        with self._report.step("Tables"):
            saved = schema.upgrade(database_url, self.home.backups)
            schema.migrate_dagster(database_url, variables, self.home.log("dagster-migrate"))
        if saved is not None:
            self._report.line(f"the data as they were before the upgrade: {saved}")

    def _start_programs(self, programs: Programs) -> None:
        runs = [programs.run_host()] if self.settings.run_launcher == "fast" else []
        with self._report.step("APIs, dashboard and Dagster's code server"):
            self._supervisor.start([programs.api(), programs.code(), programs.dash(), *runs])
        with self._report.step("Dagster's web server"):
            self._supervisor.start([programs.webserver()])
            require_definitions(programs.endpoints.dagster)
        client = DagsterClient(programs.endpoints.dagster)
        client.limit_pools(dagster_home.POOL_LIMITS)
        client.mark_canceled(client.unfinished_runs())  # their workers ended with the last platform
        with self._report.step("Dagster's daemon"):
            self._supervisor.start([programs.daemon()])


def _require_own_database(settings: Settings) -> None:
    if settings.backup_dir is not None and settings.database_url is not None:
        raise ConfigurationError(
            "THREADS_AGENT_BACKUP_DIR is for the embedded database; the one of DATABASE_URL is backed up by its owner"
        )
    if settings.backup_dir is None and settings.backup_synchronous:
        raise ConfigurationError("THREADS_AGENT_BACKUP_SYNCHRONOUS needs THREADS_AGENT_BACKUP_DIR, a folder")


def hold_home(home: Home) -> IO[str]:
    """The lock of the home; waits for the watchdog of a killed platform. Raises Conflict while another one lives."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while True:
        try:
            return hold(home.lock, f"the platform in {home.root}")
        except Conflict:
            if supervisor_lives(home) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def down(home: Home) -> bool:
    """Stop the platform of a home, wherever it was started; False when none ran. Raises Conflict when it resists."""
    process = supervisor(home)
    if process is None:
        end_marked(f"{home.key}/", GRACE_SECONDS)
        return False
    process.send_signal(signal.SIGTERM)
    _wait_until(lambda: not supervisor_lives(home), DOWN_SECONDS, f"process {process.pid} did not stop in time")
    return True


def _wait_until(done: Callable[[], bool], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise Conflict(complaint)
        time.sleep(0.1)
