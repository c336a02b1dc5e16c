"""What the run host does before it forks: imports all that runs need, and remembers which files that was."""

from __future__ import annotations

import gc
import importlib
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from dagster import Definitions, RepositoryDefinition

from threads_agent_dagster.dagster_fast.sources import Sources, of_failed_import
from threads_agent_dagster.errors import ConfigurationError

# What Dagster imports only while it executes a run; a test holds that a run imports next to nothing more.
PRELOADED = (
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.instance.runs.run_domain",
    "dagster._core.storage.migration.utils",
    "dagster._core.storage.root",
    "dagster._core.storage.sqlite_storage",
    "dagster._core.system_config.composite_descent",
    "dagster._core.utility_ops",
    "dagster._core.workspace.autodiscovery",
    "dagster._utils.temp_file",
    "dagster._utils.test.definitions",
    "dagster_postgres",
    "psycopg2.extras",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "threads_agent_dagster.dagster_fast.compute_logs",
    "threads_agent_dagster.dagster_fast.run_launcher",
    "threads_agent_dagster.dagster_fast.storage",
    "upath.implementations.local",
)


def preload(modules: Sequence[str]) -> Sources:
    """Import what runs need, resolve the code locations' graphs, and freeze it all for sharing with the workers.

    A code location that cannot be imported is logged; its runs then fail one by one, as they do without a run host.
    Raises ConfigurationError when an import started a thread or opened a socket: neither survives a fork.
    """
    since = time.time_ns()
    before = _sockets()
    for module in PRELOADED:
        importlib.import_module(module)
    blamed: set[Path] = set()
    for module in modules:
        try:
            _resolve(module)
        except Exception as error:  # noqa: BLE001 whatever user code raises at import
            traceback.print_exc()
            blamed |= of_failed_import(error)
    _refuse_unforkable(before)
    gc.collect()
    gc.freeze()
    return Sources(blamed, since)


def _resolve(module: str) -> None:
    for target in vars(importlib.import_module(module)).values():
        if isinstance(target, Definitions):
            target = target.get_repository_def()
        if isinstance(target, RepositoryDefinition):
            target.get_all_jobs()


def _refuse_unforkable(sockets_before: set[str]) -> None:
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    sockets = _sockets() - sockets_before
    if threads or sockets:
        raise ConfigurationError(
            "importing the code location must not start threads or open connections, as neither survives a fork: "
            f"threads {threads}, sockets {sorted(sockets)}; start them inside assets or resources"
        )


def _sockets() -> set[str]:
    targets = (str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink())
    return {target for target in targets if target.startswith("socket:")}
