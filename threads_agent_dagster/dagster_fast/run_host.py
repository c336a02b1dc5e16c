"""The run host: one warm process behind a unix socket that forks a worker for every run.

    python -m threads_agent_dagster.dagster_fast.run_host --socket <folder>/run.sock --module <code location>

It has imported what runs import and nothing else has happened in it: no database connection, no thread. When the code
location's files change it replaces itself by exec, keeping its pid, its socket (launches wait in the backlog, none is
lost) and its workers. SIGHUP does the same on demand; SIGTERM interrupts the workers and ends. Workers outlive a host
that is killed, and the next host takes the socket over.
"""

from __future__ import annotations

import argparse
import atexit
import fcntl
import json
import logging
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from threads_agent_dagster.dagster_fast import wire
from threads_agent_dagster.dagster_fast.preload import preload
from threads_agent_dagster.dagster_fast.sources import Sources
from threads_agent_dagster.dagster_fast.worker import COMPLETED, execute, report_loss
from threads_agent_dagster.errors import Conflict

Task = Callable[[], int]

INHERITED = "DAGSTER_FAST_INHERITED"  # number of the descriptor with the state of the host before exec
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
TICK_SECONDS = 1.0
REQUEST_SECONDS = 2.0
REMEMBERED_ENDS = 1000
log = logging.getLogger("dagster_fast.run_host")


@dataclass
class Worker:
    """One forked run; `kill_at` is the monotonic time (s) at which an interrupted worker is killed."""

    run_id: str
    instance_ref: str
    kill_at: float | None = None


@dataclass
class State:
    """What survives an exec."""

    listener: int
    lock: int
    workers: dict[int, Worker] = field(default_factory=dict)
    reporters: list[int] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)


class RunHost:
    """The loop. `serve` returns twice: in every forked child with its task, in the host with None when it ends."""

    def __init__(self, state: State, sources: Sources, grace_seconds: float) -> None:
        self._state = state
        self._sources = sources
        self._grace = grace_seconds
        self._parent = os.getppid()
        self._listener = socket.socket(fileno=state.listener)
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._waker = socket.socketpair()
        self._stopping = False
        self._reload = False

    def serve(self) -> Task | None:
        self._install_signals()
        while not self._finished():
            ready = {key.fileobj for key, _ in self._selector.select(TICK_SECONDS)}
            if self._wakeup in ready:
                self._wakeup.recv(4096)
            task = self._collect() or self._attend(self._listener in ready)
            if task is not None:
                return task
            self._kill_overdue()
        return None

    def _attend(self, asked: bool) -> Task | None:
        if not self._stopping:
            self._reload_if_changed()
            return self._answer() if asked else None
        for pid, worker in self._state.workers.items():
            if worker.kill_at is None:
                self._interrupt(pid)
        return None

    def _install_signals(self) -> None:
        for end in (self._wakeup, self._waker):
            end.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "_reload", True))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stopping", True))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _finished(self) -> bool:
        if os.getppid() != self._parent:  # as if killed: the workers go on
            log.warning("the process that started this run host is gone; leaving %d workers", len(self._state.workers))
            return True
        return self._stopping and not self._state.workers and not self._state.reporters

    # Requests

    def _answer(self) -> Task | None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(REQUEST_SECONDS)
            try:
                request = wire.receive(connection)
                answer, task = self._handle(request)
                if task is None:
                    wire.send(connection, answer)
            except (OSError, ValueError, KeyError) as error:
                log.warning("dropped a request: %r", error)
                return None
        return task

    def _handle(self, request: dict[str, Any]) -> tuple[dict[str, Any], Task | None]:
        run_id: str = request["run_id"]
        match request["op"]:
            case "launch":
                return self._launch(run_id, request["instance_ref"])
            case "terminate":
                pid = self._pid_of(run_id)
                return {"found": pid is not None and self._interrupt(pid)}, None
            case "status":
                return {"pid": self._pid_of(run_id), "ended": self._state.ended.get(run_id)}, None
        raise ValueError(f"unknown request {request['op']!r}")

    def _launch(self, run_id: str, instance_ref: str) -> tuple[dict[str, Any], Task | None]:
        if self._pid_of(run_id) is not None:
            return {"error": "it is executing already"}, None
        pid = self._fork()
        if pid == 0:
            return {}, lambda: execute(run_id, instance_ref)
        self._state.workers[pid] = Worker(run_id, instance_ref)
        return {"pid": pid}, None

    def _pid_of(self, run_id: str) -> int | None:
        return next((pid for pid, worker in self._state.workers.items() if worker.run_id == run_id), None)

    # Processes

    def _fork(self) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become_child()
        return pid

    def _become_child(self) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        for end in (self._listener, self._wakeup, self._waker):
            end.close()
        os.close(self._state.lock)
        if "numpy.random" in sys.modules:  # the standard library's generator reseeds itself, NumPy's does not
            sys.modules["numpy.random"].seed()
        # When memory runs out the kernel shall take a run, which is retried, and not the database. (Some sandboxes
        # forbid it.)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")

    def _interrupt(self, pid: int) -> bool:
        worker = self._state.workers[pid]
        if worker.kill_at is None:
            worker.kill_at = time.monotonic() + self._grace
        os.kill(pid, signal.SIGTERM)  # not reaped yet, so the pid is still ours
        return True

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for pid, worker in self._state.workers.items():
            if worker.kill_at is not None and now >= worker.kill_at:
                log.warning("run %s ignored its interruption for %g s; killing it", worker.run_id, self._grace)
                _kill_group(pid)

    def _collect(self) -> Task | None:
        """Reap what ended; a worker that did not end by itself gets a reporter, whose task this is in its child."""
        for pid in self._state.reporters.copy():
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._state.reporters.remove(pid)
        for pid, worker in list(self._state.workers.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            task = self._bury(pid, worker)
            if task is not None:
                return task
        return None

    def _bury(self, pid: int, worker: Worker) -> Task | None:
        completed = _ended_by_itself(pid)
        if not completed:
            _kill_group(pid)  # before the pid is free again
        _, status, usage = os.wait4(pid, 0)
        del self._state.workers[pid]
        if completed:
            return None
        reason = describe_end(status, usage.ru_maxrss, interrupted=worker.kill_at is not None)
        log.warning("run %s: %s", worker.run_id, reason)
        self._remember(worker.run_id, reason)
        reporter = self._fork()
        if reporter == 0:
            return lambda: report_loss(worker.run_id, worker.instance_ref, reason)
        self._state.reporters.append(reporter)
        return None

    def _remember(self, run_id: str, reason: str) -> None:
        self._state.ended[run_id] = reason
        while len(self._state.ended) > REMEMBERED_ENDS:
            del self._state.ended[next(iter(self._state.ended))]

    # Code

    def _reload_if_changed(self) -> None:
        changed = self._sources.changed()
        if not changed and not self._reload:
            return
        log.info("reloading: %s", ", ".join(map(str, changed[:3])) or "asked by SIGHUP")
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # kept through exec: none is lost, none kills
        os.environ[INHERITED] = str(_write_state(self._state))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 ourselves, by absolute path


def leave(task: Task) -> NoReturn:
    """Do the task of a forked child and end it as the interpreter would, except that its modules are not taken apart.

    That would write to every page that it shares with the host, and so copy it, after every run.
    """
    status = 1
    try:
        status = task()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 whatever ended it, its traceback is the last that is known of it
        traceback.print_exc()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def describe_end(status: int, peak_kilobytes: int, *, interrupted: bool) -> str:
    """How a worker ended that did not end by itself, in words for the run's log."""
    memory = f"peak memory {peak_kilobytes / 1024:,.0f} MiB"
    if not os.WIFSIGNALED(status):
        return f"Its process ended in the middle of the run with exit status {os.WEXITSTATUS(status)} ({memory})."
    name = signal.Signals(os.WTERMSIG(status)).name
    if interrupted:
        return f"Its process did not react to the interruption and was ended by {name} ({memory})."
    hint = " This is how the kernel ends processes when memory runs out." if name == "SIGKILL" else ""
    return f"Its process was ended by {name} ({memory}).{hint}"


def _ended_by_itself(pid: int) -> bool:
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return result is not None and (result.si_code, result.si_status) == (os.CLD_EXITED, COMPLETED)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # killed before it became the leader of its group
        os.kill(pid, signal.SIGKILL)


def _write_state(state: State) -> int:
    memory = os.memfd_create("run-host", flags=0)
    for descriptor in (state.listener, state.lock):
        os.set_inheritable(descriptor, True)
    os.write(memory, json.dumps(asdict(state)).encode())
    return memory


def _read_state(memory: int) -> State:
    with os.fdopen(memory, "rb") as file:
        file.seek(0)
        stored = json.load(file)
    workers = {int(pid): Worker(**worker) for pid, worker in stored.pop("workers").items()}
    state = State(**stored, workers=workers)
    for descriptor in (state.listener, state.lock):
        os.set_inheritable(descriptor, False)
    return state


def _new_state(path: Path) -> State:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # kept through exec, not inherited by forked workers
    except BlockingIOError as error:
        raise Conflict(f"another run host listens at {path}") from error
    return State(listener=wire.listen(path).detach(), lock=lock)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="run_host", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--socket", type=Path, required=True, help="path of the unix socket, in a folder of its own")
    parser.add_argument("--module", action="append", default=[], help="code location to preload; may be repeated")
    parser.add_argument("--grace", type=float, default=30.0, help="s between interrupting a run and killing it")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    started = time.monotonic()
    inherited = os.environ.pop(INHERITED, None)
    state = _new_state(options.socket) if inherited is None else _read_state(int(inherited))
    sources = preload(options.module)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    log.info("pid %d ready after %.1f s, %.0f MiB", os.getpid(), time.monotonic() - started, megabytes)
    task = RunHost(state, sources, options.grace).serve()
    if task is not None:
        leave(task)
    return 0


if __name__ == "__main__":
    sys.exit(main())
