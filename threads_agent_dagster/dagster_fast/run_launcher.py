"""The run launcher that hands runs to the run host: a thin client, the same from daemon, webserver and CLI."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun, Field, Float, StringSource
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

from threads_agent_dagster.dagster_fast.wire import ask
from threads_agent_dagster.dagster_fast.worker import Identity
from threads_agent_dagster.errors import Conflict, Unavailable

ANSWER_SECONDS = 60.0  # a host that reloads its code answers when it is done
PATIENCE_SECONDS = 15.0


class FastRunLauncher(RunLauncher[DagsterInstance], ConfigurableClass):
    """`run_launcher:` of dagster.yaml. A run fails to launch, with the reason in its log, while no host answers."""

    def __init__(
        self,
        socket: str,
        patience_seconds: float = PATIENCE_SECONDS,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._socket = Path(socket)
        self._patience = patience_seconds
        self._inst_data = inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {
            "socket": Field(StringSource, description="path of the run host's unix socket"),
            "patience_seconds": Field(
                Float,
                default_value=PATIENCE_SECONDS,
                description="s; how long a launch waits for a host that is being restarted",
            ),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> FastRunLauncher:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run_id = context.dagster_run.run_id
        answer = self._ask(self._patience, op="launch", run_id=run_id, instance_ref=self._instance_ref)
        if "error" in answer:
            raise Conflict(f"the run host refused run {run_id}: {answer['error']}")

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if not self._interrupt(run):
            self._instance.report_run_canceled(run, "The worker of this run had already ended.")
        return True

    def _interrupt(self, run: DagsterRun) -> bool:
        try:
            if self._ask(0.0, op="terminate", run_id=run.run_id)["found"]:
                return True
        except Unavailable as error:
            self._instance.report_engine_event(f"{error}. Interrupting the worker directly.", run)
        worker = Identity.from_tags(run.tags)
        return worker is not None and worker.interrupt()

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        worker = Identity.from_tags(run.tags)
        if worker is None:
            # Executed by somebody's own process (`dagster asset materialize`), of which nothing is known here.
            return CheckRunHealthResult(WorkerStatus.RUNNING, "not started by the run host, so not watched")
        if worker.is_alive():
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(worker))
        return CheckRunHealthResult(WorkerStatus.FAILED, self._how_it_ended(run), run_worker_id=str(worker))

    def _how_it_ended(self, run: DagsterRun) -> str:
        try:
            reason = self._ask(0.0, op="status", run_id=run.run_id)["ended"]
        except Unavailable as error:
            reason = f"its run host does not answer either ({error})"
        return f"The worker of this run is gone: {reason or 'its run host was replaced meanwhile'}"

    @cached_property
    def _instance_ref(self) -> str:
        return serialize_value(self._instance.get_ref())

    def _ask(self, patience: float, **request: str) -> dict[str, Any]:
        return ask(self._socket, request, patience=patience, timeout=ANSWER_SECONDS)
