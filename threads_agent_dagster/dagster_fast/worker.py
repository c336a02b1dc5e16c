"""The process that executes one run: its identity, and what it does after the fork."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body
from dagster._cli.utils import get_instance_for_cli
from dagster._core.instance import InstanceRef
from dagster._serdes import deserialize_value
from dagster._utils.interrupts import capture_interrupts

WORKER_TAG = "dagster_fast/worker"
COMPLETED = 77  # not 0: with 0 exits also a worker whose asset called os._exit(0) in the middle
EVENT_BATCH = "100"


@dataclass(frozen=True)
class Identity:
    """Names one process for ever: pids are used again, a pid with its start time and boot is not."""

    pid: int
    started: int  # clock ticks since boot
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this pid now; None if there is none or only a zombie."""
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = status.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), boot_id())

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Identity | None:
        """The worker that a run's tags name; None for a run that no run host executed."""
        if WORKER_TAG not in tags:
            return None
        pid, started, boot = tags[WORKER_TAG].split(":")
        return cls(int(pid), int(started), boot)

    def __str__(self) -> str:
        return f"{self.pid}:{self.started}:{self.boot}"

    def is_alive(self) -> bool:
        return Identity.of(self.pid) == self

    def interrupt(self) -> bool:
        """Send SIGTERM; False if the process is gone."""
        if not self.is_alive():
            return False
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return False
        return True


@cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def execute(run_id: str, instance_ref: str) -> int:
    """What `dagster api execute_run` does, in this process; returns COMPLETED whatever became of the run."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", EVENT_BATCH)
    with capture_interrupts(), get_instance_for_cli(instance_ref=_ref(instance_ref)) as instance:
        # Before any other event, so that no run is STARTED without the identity of its worker.
        instance.add_run_tags(run_id, {WORKER_TAG: str(Identity.of(os.getpid()))})
        _execute_run_command_body(run_id, instance, lambda _event: None, set_exit_code_on_failure=False)
    return COMPLETED


def report_loss(run_id: str, instance_ref: str, reason: str) -> int:
    """End the run of a worker that died before it could; returns COMPLETED."""
    with DagsterInstance.from_ref(_ref(instance_ref)) as instance:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return COMPLETED
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, reason)
        else:
            instance.report_run_failed(run, reason)
    return COMPLETED


def _ref(serialized: str) -> InstanceRef:
    return deserialize_value(serialized, InstanceRef)
