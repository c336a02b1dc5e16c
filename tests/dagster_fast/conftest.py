"""Two Dagster instances on one real database, one with Dagster's launcher and one with ours, and a code location."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.remote_representation.code_location import CodeLocation
from dagster._core.remote_representation.external import RemoteJob
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from sqlalchemy import make_url

WAIT_SECONDS = 60.0
LOCATION = """
import json, os, random, resource, signal, sys, time
import dagster as dg
import numpy
import constants

def started(context):
    with open(context.run.tags["fifo"], "w") as fifo:
        fifo.write(f"{os.getpid()}\\n")

def block(context):
    started(context)
    while True:
        time.sleep(60)

def block_stubbornly(context):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    block(context)

def proceed_when_told(context):
    started(context)
    with open(context.run.tags["gate"]) as gate:
        gate.read()

def take_all_memory(context):
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, resource.RLIM_INFINITY))
    held = bytearray(1 << 32)

ACTIONS = {
    "take all memory": take_all_memory,
    "raise": lambda context: 1 / 0,
    "exit 3": lambda context: os._exit(3),
    "exit 0": lambda context: os._exit(0),
    "sigkill": lambda context: os.kill(os.getpid(), signal.SIGKILL),
    "block": block,
    "block stubbornly": block_stubbornly,
    "gate": proceed_when_told,
}

def facts():
    return {
        "value": constants.VALUE,
        "environment": os.environ.get("DAGSTER_FAST_TEST", ""),
        "changed": os.environ.get("SET_BY_A_RUN", ""),
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "draws": json.dumps([random.random(), numpy.random.random()]),
    }

@dg.asset
def observed(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    print("this went to stdout")
    print("this went to stderr", file=sys.stderr)
    before = set(sys.modules)
    action = context.run.tags.get("action")
    if action:
        ACTIONS[action](context)
    result = facts()
    os.environ["SET_BY_A_RUN"] = "leaked"
    return dg.MaterializeResult(metadata=result)

@dg.asset(deps=[observed])
def imported() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"modules": json.dumps(sorted(sys.modules))})

@dg.asset(pool="scarce")
def pooled(context: dg.AssetExecutionContext) -> None:
    ACTIONS[context.run.tags["action"]](context)

@dg.op
def one():
    return 1

@dg.op
def two(one=0):
    return 2

@dg.job(executor_def=dg.in_process_executor)
def steps():
    two(one())

@dg.job(executor_def=dg.multiprocess_executor)
def processes():
    two(one())

defs = dg.Definitions(assets=[observed, imported, pooled], jobs=[steps, processes], executor=dg.in_process_executor)
"""


def wait_until(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """The first truthy value of `condition`: for what other processes do and nothing announces."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:g} s in vain: {what}")


class Fifo:
    """A named pipe that a run writes to when it got somewhere, or reads from to be let on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid.uuid4().hex
        os.mkfifo(self.path)

    def line(self) -> str:
        with closing(os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK))) as reader:
            ready, _, _ = select.select([reader], [], [], WAIT_SECONDS)
            assert ready, "the run did not come that far"
            return str(reader.readline()).strip()

    def open_gate(self) -> None:
        self.path.open("w").close()


@dataclass
class Deployment:
    """One launcher over the shared storage and code location."""

    name: str
    instance: dg.DagsterInstance
    processes: WorkspaceProcessContext
    folder: Path

    def create(
        self,
        *,
        job: str = "__ASSET_JOB",
        assets: Sequence[str] | None = ("observed",),
        ops: Sequence[str] | None = None,
        steps: Sequence[str] | None = None,
        **tags: str,
    ) -> str:
        """The id of a new run that is not launched yet."""
        keys = None if assets is None or job != "__ASSET_JOB" else [dg.AssetKey(name) for name in assets]
        location = self._location()
        selector = JobSubsetSelector(
            location_name="location",
            repository_name="__repository__",
            job_name=job,
            op_selection=ops,
            asset_selection=keys,
        )
        return self._store(location, location.get_job(selector), keys, ops, steps, tags).run_id

    def _location(self) -> CodeLocation:
        return self.processes.create_request_context().get_code_location("location")

    def _store(
        self,
        location: CodeLocation,
        job: RemoteJob,
        assets: Sequence[dg.AssetKey] | None,
        ops: Sequence[str] | None,
        steps: Sequence[str] | None,
        tags: Mapping[str, str],
    ) -> dg.DagsterRun:
        plan = location.get_execution_plan(
            job, {}, step_keys_to_execute=steps, known_state=None, instance=self.instance
        )
        return self.instance.create_run(
            job_name=job.name,
            run_id=str(uuid.uuid4()),
            run_config={},
            resolved_op_selection=job.resolved_op_selection,
            step_keys_to_execute=steps,
            status=DagsterRunStatus.NOT_STARTED,
            op_selection=ops,
            root_run_id=None,
            parent_run_id=None,
            tags=tags,
            job_snapshot=job.job_snapshot,
            execution_plan_snapshot=plan.execution_plan_snapshot,
            parent_job_snapshot=job.parent_job_snapshot,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            asset_selection=None if assets is None else frozenset(assets),
            asset_check_selection=None,
            asset_graph=location.get_repository("__repository__").asset_graph,
        )

    def launch(self, run_id: str) -> str:
        self.instance.launch_run(run_id, self.processes.create_request_context())
        return run_id

    def start(self, **options: Any) -> str:
        return self.launch(self.create(**options))

    def wait(self, run_id: str) -> dg.DagsterRun:
        """The run once it is finished."""

        def finished() -> dg.DagsterRun | None:
            run = self.instance.get_run_by_id(run_id)
            return run if run is not None and run.is_finished else None

        return wait_until(finished, f"run {run_id} to finish")

    def run(self, **options: Any) -> dg.DagsterRun:
        return self.wait(self.start(**options))

    @cached_property
    def plain_runs(self) -> list[dg.DagsterRun]:
        """Two runs, one after the other, of which nothing special is asked: enough for many questions."""
        return [self.run(), self.run()]

    def messages(self, run_id: str) -> str:
        return "\n".join(entry.user_message for entry in self.instance.all_logs(run_id))

    def metadata(self, run_id: str, asset: str = "observed") -> dict[str, Any]:
        """What the run's materialization of `asset` recorded."""
        events = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        (found,) = [event.asset_materialization for event in events if event.asset_materialization]
        assert found.asset_key == dg.AssetKey(asset)
        return {name: value.value for name, value in found.metadata.items()}


class Host:
    """The run host as its supervisor sees it."""

    def __init__(self, folder: Path, code: Path) -> None:
        self.socket = folder / "host" / "run.sock"
        self.code = code
        self._log = folder / "host.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, grace: float = 2.0) -> None:
        module = "threads_agent_dagster.dagster_fast.run_host"
        command = [sys.executable, "-m", module, "--socket", str(self.socket), "--module", "location"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--grace", str(grace)], cwd=self.code, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def log(self) -> str:
        return self._log.read_text()

    def times_ready(self) -> int:
        return self.log().count(" ready after ")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(WAIT_SECONDS)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None


@pytest.fixture(scope="module")
def dagster_database(postgres_server_url: str) -> Iterator[str]:
    name = f"dagster_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = make_url(postgres_server_url).set(drivername="postgresql+psycopg2", database=name)
    yield url.render_as_string(hide_password=False)
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the code location's two files."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "location.py").write_text(LOCATION)
    (folder / "constants.py").write_text("VALUE = 'first'\n")
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, code: Path, environment: None) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("run"), code)
    host.start()
    yield host
    if host.is_running():
        host.end()


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_FAST_TEST", "from the environment")
        yield


def _home(folder: Path, config: Mapping[str, Any]) -> dg.DagsterInstance:
    (folder / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, **config}))
    return dg.DagsterInstance.from_config(str(folder))


def _stock(url: str) -> dict[str, Any]:
    wait = {"wait_for_local_processes_on_shutdown": True}  # or the code server outlives the database
    return {"storage": {"postgres": {"postgres_url": url}}, "code_servers": wait}


def _fast(url: str, socket: Path, logs: Path) -> dict[str, Any]:
    package = "threads_agent_dagster.dagster_fast"
    launcher = {"socket": str(socket), "patience_seconds": WAIT_SECONDS}
    return {
        "storage": {
            "custom": {
                "module": f"{package}.storage",
                "class": "PooledPostgresStorage",
                "config": {"postgres_url": url},
            }
        },
        "run_launcher": {"module": f"{package}.run_launcher", "class": "FastRunLauncher", "config": launcher},
        "compute_logs": {
            "module": f"{package}.compute_logs",
            "class": "DirectComputeLogManager",
            "config": {"base_dir": str(logs)},
        },
    }


@pytest.fixture(scope="module")
def deployments(
    dagster_database: str, code: Path, host: Host, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Deployment]]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("default", "fast")}
    fast = _fast(dagster_database, host.socket, folders["fast"] / "logs")
    with ExitStack() as stack:
        stock = stack.enter_context(_home(folders["default"], _stock(dagster_database)))
        ours = stack.enter_context(_home(folders["fast"], fast))
        target = ModuleTarget("location", "defs", str(code), "location")
        processes = stack.enter_context(WorkspaceProcessContext(stock, target))
        yield {
            "default": Deployment("default", stock, processes, folders["default"]),
            "fast": Deployment("fast", ours, processes, folders["fast"]),
        }


@pytest.fixture
def fast(deployments: dict[str, Deployment]) -> Deployment:
    return deployments["fast"]


@pytest.fixture(params=["default", "fast"])
def either(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Deployment:
    """Each launcher in turn: what a test with this fixture says holds for both."""
    return deployments[request.param]


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path)


@pytest.fixture
def gate(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path)


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until
