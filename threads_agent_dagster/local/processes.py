"""Finding and ending processes by what they are, never by a number in a file that may be another program's by now."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARKER = "THREADS_AGENT_SUPERVISED_BY"  # in the environment of every process that a supervisor starts, and its children
FAST_SECONDS = 20.0
QUICK_SECONDS = 5.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.02


def marked(prefix: str) -> list[psutil.Process]:
    """The living processes whose marker begins with `prefix`, in whatever session they are."""
    return list(_living(lambda process: process.environ().get(MARKER, "").startswith(prefix)))


def end_marked(prefix: str, grace_seconds: float, spared: int | None = None) -> None:
    """SIGTERM to all marked processes but the `spared` one, SIGKILL to those that still run after the grace period."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_SECONDS)):
        processes = [process for process in marked(prefix) if process.pid != spared]
        if not processes:
            return
        for process in processes:
            _send(process, number)
        _await_end(processes, seconds)


def end_server(cluster: Path) -> None:
    """End every process of the PostgreSQL server on `cluster`: SIGINT (fast), SIGQUIT (immediate), SIGKILL.

    They are known by name and working folder, so the orphaned backends of a killed postmaster are found as well; for
    these the harm is done, and a busy one would keep the next server waiting.
    """
    folder = str(cluster.resolve())
    for number, seconds in ((signal.SIGINT, FAST_SECONDS), (signal.SIGQUIT, QUICK_SECONDS)):
        postmasters = [process for process in _servers(folder) if _is_postmaster(process)]
        for process in postmasters:
            _send(process, number)
        _await_end(postmasters, seconds)
    orphans = _servers(folder)
    for process in orphans:
        _send(process, signal.SIGKILL)
    _await_end(orphans, KILL_SECONDS)


def listener(port: int) -> psutil.Process | None:
    """The process that listens on a TCP port, as far as this user may see it."""
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
            return process
    return None


def describe(process: psutil.Process) -> str:
    """`name (process 123)`, or the number alone when the process has gone."""
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.Error:
        return f"process {process.pid}"


def same_process(pid: int, create_time: float) -> psutil.Process | None:
    """The living process with this number that was born at this time (s since 1970); a zombie is not living."""
    try:
        process = psutil.Process(pid)
        born = process.create_time()
        living = process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if living and abs(born - create_time) < 0.1 else None


def _living(wanted: Callable[[psutil.Process], bool]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if wanted(process) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:  # gone meanwhile, or another user's
            continue


def _servers(folder: str) -> list[psutil.Process]:
    return list(_living(lambda process: process.name() == "postgres" and process.cwd() == folder))


def _is_postmaster(process: psutil.Process) -> bool:
    """Its title is still the command; those of its children are of the form `postgres: checkpointer`."""
    try:
        return not process.cmdline()[0].startswith("postgres:")
    except (psutil.Error, IndexError):  # ended meanwhile
        return False


def _await_end(processes: list[psutil.Process], seconds: float) -> None:
    """Wait without collecting exit codes: of our own children, whoever started them still wants to know."""
    deadline = time.monotonic() + seconds
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
