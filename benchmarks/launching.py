"""Runs launched one by one through a deployment's own launcher, without a daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg

from benchmarks.deployment import Deployment, wait_until

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._core.definitions.reconstruct import ReconstructableJob
    from dagster._core.workspace.context import WorkspaceProcessContext

ASSET_JOB = "__ASSET_JOB"
ENDED = "SELECT status, end_time - start_time FROM runs WHERE run_id = %s AND end_time IS NOT NULL"


class Launcher:
    """Creates, launches and awaits runs of all assets; `polls` counts the transactions that awaiting cost."""

    def __init__(self, deployment: Deployment, instance: DagsterInstance, workspace: WorkspaceProcessContext) -> None:
        self.deployment = deployment
        self.instance = instance
        self._workspace = workspace
        self._connection = psycopg.connect(deployment.url, autocommit=True)
        self.polls = 0

    def create(self, tags: Mapping[str, str] | None = None) -> str:
        run = self.instance.create_run_for_job(
            self._job.get_definition(),
            tags=tags,
            remote_job_origin=self._remote_origin,
            job_code_origin=self._job.get_python_origin(),
        )
        return run.run_id

    def run(self, run_id: str) -> float:
        """Launch it and return the seconds from START to SUCCESS."""
        self.instance.launch_run(run_id, self._workspace.create_request_context())
        status, seconds = wait_until(lambda: self._ended(run_id), "the run to end")
        assert status == "SUCCESS", self.deployment.log()
        return float(seconds)

    def close(self) -> None:
        self._connection.close()

    def flush_statistics(self) -> None:
        self.polls += 1
        self._connection.execute("SELECT pg_stat_force_next_flush()")

    def _ended(self, run_id: str) -> tuple[str, float] | None:
        self.polls += 1
        return self._connection.execute(ENDED, [run_id]).fetchone()

    @cached_property
    def _job(self) -> ReconstructableJob:
        from dagster._core.definitions.reconstruct import ReconstructableRepository

        home = str(self.deployment.home)
        return ReconstructableRepository.for_module(self.deployment.name, "defs", home).get_reconstructable_job(
            ASSET_JOB
        )

    @cached_property
    def _remote_origin(self):  # type: ignore[no-untyped-def]
        location = self._workspace.create_request_context().get_code_location(self.deployment.name)
        return location.get_repository("__repository__").get_full_job(ASSET_JOB).get_remote_origin()


@contextmanager
def launching(deployment: Deployment) -> Iterator[Launcher]:
    """A launcher with the code server and run host it needs."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget

    target = ModuleTarget(deployment.name, "defs", str(deployment.home), deployment.name)
    os.environ.update(deployment.environment)  # the code server inherits it
    with (
        deployment.run_host(),
        deployment.instance() as instance,
        WorkspaceProcessContext(instance, target) as workspace,
    ):
        launcher = Launcher(deployment, instance, workspace)
        try:
            yield launcher
        finally:
            launcher.close()
