"""Whole Dagster deployments to measure: a real server, daemon, code server and, for ours, the run host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import yaml

from threads_agent_dagster.local.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from dagster import DagsterInstance

FAST = "threads_agent_dagster.dagster_fast"
PATIENCE_SECONDS = 180.0
IN_ORDER_OF_END = (signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True)
class Flavour:
    """How a deployment is configured. `stock` takes what Dagster offers, `ours` what `dagster_fast` adds."""

    name: str
    config: Callable[[str, Path], Mapping[str, Any]]
    run_host: bool = False


def defaults(url: str, _home: Path) -> dict[str, Any]:
    """dagster.yaml as https://docs.dagster.io/deployment/oss/oss-instance-configuration starts it, on PostgreSQL."""
    return {
        "storage": {"postgres": {"postgres_url": url}},
        "telemetry": {"enabled": False},
        "code_servers": {"wait_for_local_processes_on_shutdown": True},  # or they outlive their database
    }


def best_stock(url: str, home: Path) -> dict[str, Any]:
    """Without the queue, whose daemon looks every 5 s."""
    coordinator = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    return {**defaults(url, home), "run_coordinator": coordinator}


def ours(url: str, home: Path) -> dict[str, Any]:
    storage = {"module": f"{FAST}.storage", "class": "PooledPostgresStorage", "config": {"postgres_url": url}}
    launcher = {
        "module": f"{FAST}.run_launcher",
        "class": "FastRunLauncher",
        "config": {"socket": str(run_socket(home))},
    }
    logs = {
        "module": f"{FAST}.compute_logs",
        "class": "DirectComputeLogManager",
        "config": {"base_dir": str(home / "logs")},
    }
    return {
        **best_stock(url, home),
        "storage": {"custom": storage},
        "run_launcher": launcher,
        "compute_logs": logs,
        "sensors": {"use_threads": True, "num_workers": 8},
    }


def run_socket(home: Path) -> Path:
    return home / "host" / "run.sock"


DEFAULTS = Flavour("Dagster's defaults", defaults)
BEST_STOCK = Flavour("best stock", best_stock)
OURS = Flavour("ours", ours, run_host=True)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """URL of a server of its own, durable as by default."""
    with EmbeddedPostgres(folder / "postgres") as url:
        yield url


@dataclass
class Deployment:
    """A database, a DAGSTER_HOME and a code location, all of one name, and the processes started for them."""

    flavour: Flavour
    home: Path
    url: str

    @classmethod
    def create(cls, flavour: Flavour, folder: Path, server_url: str, code: str) -> Deployment:
        name = f"bench_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        home = folder / name
        home.mkdir(parents=True)
        url = f"{server_url.rpartition('/')[0]}/{name}"
        storage_url = url.replace("postgresql://", "postgresql+psycopg2://")
        (home / "dagster.yaml").write_text(yaml.safe_dump(flavour.config(storage_url, home)))
        (home / f"{name}.py").write_text(code)
        return cls(flavour, home, url)

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def environment(self) -> dict[str, str]:
        mine = {"DAGSTER_HOME": str(self.home), "BENCH_DATABASE_URL": self.url}
        return {**os.environ, **mine, "OMP_NUM_THREADS": "1", "DAGSTER_DISABLE_TELEMETRY": "yes"}

    @contextmanager
    def process(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A Python module run in the deployment's home until the block ends."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            end(process)

    @contextmanager
    def run_host(self) -> Iterator[None]:
        """The warm run host, if this flavour has one."""
        if not self.flavour.run_host:
            yield
            return
        socket = run_socket(self.home)
        with self.process("host", f"{FAST}.run_host", "--socket", str(socket), "--module", self.name):
            wait_until(lambda: " ready after " in (self.home / "host.log").read_text(), "the run host to be ready")
            yield

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Daemon and code server, and the run host before them."""
        with self.run_host(), self.process("daemon", "dagster._daemon", "run", "-m", self.name):
            yield

    @contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def log(self) -> str:
        """The ends of all its processes' logs: what to read when something failed."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.home.glob("*.log"))


def end(process: subprocess.Popen[bytes]) -> None:
    for number in IN_ORDER_OF_END:
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue
        return


def wait_until(condition: Callable[[], Any], what: str, every: float = 0.01) -> Any:
    """The first truthy value of `condition`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise TimeoutError(f"waited {PATIENCE_SECONDS:g} s in vain for {what}")
