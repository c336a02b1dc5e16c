"""The programs of the platform: commands, environments, and how to see that each is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from threads_agent_dagster.clients.dagster import DagsterClient
from threads_agent_dagster.dagster_fast import wire
from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.local import dagster_home
from threads_agent_dagster.local.endpoints import Endpoints
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.ports import LOOPBACK, answers
from threads_agent_dagster.local.services import Program
from threads_agent_dagster.settings import Settings, variable_name

STANDBY = "threads_agent_dagster.local.standby"
PROBE_SECONDS = 2.0
LISTENING_GRACE_SECONDS = 3.0  # a sensor may wait for work for 50 s; to cut its tick short loses nothing


def environment(settings: Settings) -> dict[str, str]:
    """The current environment with every setting made explicit, so that all processes see the same values."""
    explicit = {variable_name(field): _plain(getattr(settings, field)) for field in Settings.model_fields}
    # PYTHONSAFEPATH: a folder `assets` where the user happens to be must not shadow ours.
    return {**os.environ, **{name: value for name, value in explicit.items() if value}, "PYTHONSAFEPATH": "1"}


@dataclass(frozen=True)
class Programs:
    """Builds each program of one platform."""

    home: Home
    settings: Settings
    endpoints: Endpoints
    code_port: int
    variables: dict[str, str]

    def api(self) -> Program:
        """Three HTTP APIs in one process."""
        names = ("orchestrator", "achievements", "prompts")
        ports = [getattr(self.settings, f"{name}_port") for name in names]
        urls = [f"{getattr(self.endpoints, name)}/livez" for name in names]
        module = "threads_agent_dagster.api.__main__"
        program = self._python("api", STANDBY, module, *names, ports=ports, ready=lambda: all(map(_succeeds, urls)))
        program.standby = True
        return program

    def code(self) -> Program:
        """Dagster's code server, which also executes the runs when `run_launcher` is `default`."""
        arguments = ["--module", dagster_home.DEFINITIONS, "--host", LOOPBACK, "--port", str(self.code_port)]
        arguments += ["--location-name", dagster_home.LOCATION, "--working-directory", str(self.home.dagster)]
        module = f"{dagster_home.FAST}.code_server"
        program = self._python(
            "code", STANDBY, module, *arguments, ports=[self.code_port], ready=lambda: answers(self.code_port)
        )
        program.standby = True
        program.grace_seconds = LISTENING_GRACE_SECONDS
        if self.settings.run_launcher == "default":
            program.after_end = self._close_orphaned_runs
        return program

    def run_host(self) -> Program:
        """The warm process that forks a worker for each run, when `run_launcher` is `fast`."""
        socket = dagster_home.run_socket(self.home)
        arguments = ["--socket", str(socket), "--module", dagster_home.DEFINITIONS]
        program = self._python(
            "run-host", "threads_agent_dagster.dagster_fast.run_host", *arguments, ready=lambda: _is_warm(socket)
        )
        program.outlived = True
        return program

    def webserver(self) -> Program:
        """Dagster's UI and GraphQL API."""
        port = self.settings.dagster_port
        arguments = ["-h", self.settings.host, "-p", str(port), "-w", str(dagster_home.workspace_file(self.home))]
        return self._python(
            "webserver",
            "dagster_webserver",
            *arguments,
            ports=[port],
            ready=lambda: _succeeds(f"{self.endpoints.dagster}/server_info"),
        )

    def daemon(self) -> Program:
        """Dagster's daemon: sensors, schedules, backfills, run monitoring."""
        arguments = ["run", "-w", str(dagster_home.workspace_file(self.home))]
        program = self._python(
            "daemon", "threads_agent_dagster.dagster_fast.daemon", *arguments, ready=self._daemon_beats
        )
        program.grace_seconds = LISTENING_GRACE_SECONDS
        return program

    def dash(self) -> Program:
        """The dashboard."""
        url = f"{self.endpoints.dash}/livez"
        return self._python("dash", "dash_app", ports=[self.settings.dash_port], ready=lambda: _succeeds(url))

    def _python(
        self, name: str, module: str, *arguments: str, ready: Callable[[], bool], ports: list[int] | None = None
    ) -> Program:
        return Program(
            name=name,
            command=[sys.executable, "-m", module, *arguments],
            environment=self.variables,
            folder=self.home.dagster,
            log=self.home.log(name),
            home_key=self.home.key,
            ready=ready,
            ports=ports or [],
            host=self.settings.host if name != "code" else LOOPBACK,
        )

    def _daemon_beats(self) -> bool:
        return not DagsterClient(self.endpoints.dagster).silent_daemons()

    def _close_orphaned_runs(self) -> None:
        """The code server's run workers ended with it; a run that looks busy would hold up its chain for ever."""
        client = DagsterClient(self.endpoints.dagster)
        client.mark_canceled(client.unfinished_runs())


def _plain(value: object) -> str:
    if value is None:
        return ""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _succeeds(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PROBE_SECONDS).is_success
    except httpx.HTTPError:
        return False


def _is_warm(socket: Path) -> bool:
    """Whether the run host answers; it listens while it still imports."""
    try:
        wire.ask(socket, {"op": "status", "run_id": ""}, patience=0.0, timeout=PROBE_SECONDS)
    except Unavailable:
        return False
    return True


def require_definitions(dagster_url: str) -> None:
    """Raises Unavailable with Dagster's own message when the code location did not load."""
    errors = DagsterClient(dagster_url).load_errors()
    if errors:
        raise Unavailable(f"Dagster could not load the definitions: {'; '.join(errors.values()).strip()}")
