"""What only the run host promises: who dies, what survives, what is reloaded, who may speak to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.launcher import WorkerStatus

from threads_agent_dagster.dagster_fast import wire
from threads_agent_dagster.dagster_fast.run_host import describe_end
from threads_agent_dagster.dagster_fast.sources import Sources
from threads_agent_dagster.dagster_fast.worker import WORKER_TAG, Identity
from threads_agent_dagster.errors import ConfigurationError, Unavailable

SUCCESS, FAILURE, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED


def failure(fast: Any, run_id: str) -> str:
    (event,) = fast.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return str(event.dagster_event.message)


def _engine_errors(fast: Any, run_id: str) -> list[Any]:
    events = fast.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return [event for event in events if event.dagster_event.engine_event_data.error]


@pytest.fixture
def running(host: Any) -> Iterator[Any]:
    """The host, alive again after the test whatever the test did to it."""
    yield host
    if not host.is_running():
        host.start()


# What a dead worker leaves


def test_exit_status_of_a_lost_worker_is_in_the_runs_log(fast: Any) -> None:
    assert "exit status 3" in failure(fast, fast.run(action="exit 3").run_id)


def test_kill_of_a_worker_is_in_the_runs_log_with_the_likely_cause(fast: Any) -> None:
    message = failure(fast, fast.run(action="sigkill").run_id)
    assert "SIGKILL" in message
    assert "memory" in message


@pytest.mark.parametrize(
    ("status", "interrupted", "words"),
    [
        (3 << 8, False, "exit status 3"),
        (signal.SIGSEGV, False, "ended by SIGSEGV"),
        (signal.SIGKILL, False, "when memory runs out"),
        (signal.SIGKILL, True, "did not react to the interruption"),
    ],
)
def test_end_is_described_in_words(status: int, interrupted: bool, words: str) -> None:
    description = describe_end(status, 2048, interrupted=interrupted)
    assert words in description
    assert "2 MiB" in description


def test_run_that_ignores_its_interruption_is_killed(fast: Any, fifo: Any) -> None:
    run_id = fast.start(action="block stubbornly", fifo=str(fifo.path))
    fifo.line()
    assert fast.instance.run_launcher.terminate(run_id)
    assert fast.wait(run_id).status == CANCELED


def test_worker_ends_as_an_interpreter_does_without_taking_its_modules_apart() -> None:
    """Threads are awaited, exit handlers run, what was printed is written; no object is torn down."""
    source = """
import atexit, sys, threading, time
from threads_agent_dagster.dagster_fast.run_host import leave

class Torn:
    def __del__(self):
        print("torn down")

kept = Torn()
atexit.register(print, "exit handlers ran")
threading.Thread(target=lambda: (time.sleep(0.1), print("the thread ended"))).start()
leave(lambda: sys.exit(5) if sys.argv[1:] else 77)
"""
    for arguments, status in (([], 77), (["exit"], 5)):
        ended = subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (status, "the thread ended\nexit handlers ran\n"), ended.stderr


# Identity and health


def test_worker_is_named_by_pid_start_and_boot_and_leads_its_own_group(fast: Any, fifo: Any, gate: Any) -> None:
    run_id = fast.start(action="gate", fifo=str(fifo.path), gate=str(gate.path))
    pid = int(fifo.line())
    worker = Identity.from_tags(fast.instance.get_run_by_id(run_id).tags)
    assert worker == Identity.of(pid)
    assert os.getpgid(pid) == pid
    assert fast.instance.run_launcher.check_run_worker_health(fast.instance.get_run_by_id(run_id)).status == (
        WorkerStatus.RUNNING
    )
    gate.open_gate()
    assert fast.wait(run_id).status == SUCCESS


def test_reused_pid_is_not_taken_for_the_worker(fast: Any) -> None:
    myself = Identity.of(os.getpid())
    assert myself is not None
    assert myself.is_alive()
    assert not Identity(myself.pid, myself.started + 1, myself.boot).is_alive()
    assert not Identity(myself.pid, myself.started, "another boot").is_alive()


def test_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Identity.of(child.pid) is None
    child.wait()


def test_health_of_a_lost_worker_is_failed(fast: Any) -> None:
    run = fast.plain_runs[0]
    health = fast.instance.run_launcher.check_run_worker_health(run)
    assert health.status == WorkerStatus.FAILED
    assert run.tags[WORKER_TAG] == health.run_worker_id


def test_run_of_somebodys_own_process_is_left_alone(fast: Any) -> None:
    run = fast.instance.get_run_by_id(fast.create())
    assert fast.instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


# The host dies


def test_killed_host_takes_no_run_with_it(fast: Any, running: Any, fifo: Any, gate: Any) -> None:
    run_id = fast.start(action="gate", fifo=str(fifo.path), gate=str(gate.path))
    fifo.line()
    running.end(signal.SIGKILL)
    health = fast.instance.run_launcher.check_run_worker_health(fast.instance.get_run_by_id(run_id))
    assert health.status == WorkerStatus.RUNNING
    running.start()
    gate.open_gate()
    assert fast.wait(run_id).status == SUCCESS
    assert fast.run().status == SUCCESS


def test_run_is_terminated_though_its_host_is_dead(fast: Any, running: Any, fifo: Any) -> None:
    run_id = fast.start(action="block", fifo=str(fifo.path))
    fifo.line()
    running.end(signal.SIGKILL)
    assert fast.instance.run_launcher.terminate(run_id)
    assert fast.wait(run_id).status == CANCELED


def test_worker_that_died_after_its_host_is_seen_and_can_be_canceled(fast: Any, running: Any, fifo: Any) -> None:
    run_id = fast.start(action="block", fifo=str(fifo.path))
    pid = int(fifo.line())
    running.end(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    worker = psutil.Process(pid) if psutil.pid_exists(pid) else None
    if worker is not None:
        psutil.wait_procs([worker], timeout=20)
    health = fast.instance.run_launcher.check_run_worker_health(fast.instance.get_run_by_id(run_id))
    assert health.status == WorkerStatus.FAILED
    assert fast.instance.run_launcher.terminate(run_id)
    assert fast.wait(run_id).status == CANCELED


def test_launch_without_a_host_fails_the_run_and_says_what_to_do(
    fast: Any, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast.instance.run_launcher, "_patience", 0.5)
    running.end(signal.SIGKILL)
    run_id = fast.create()
    with pytest.raises(Unavailable, match="no run host answers"):
        fast.launch(run_id)
    assert fast.instance.get_run_by_id(run_id).status == FAILURE
    (error,) = (event.dagster_event.engine_event_data.error for event in _engine_errors(fast, run_id))
    assert "set run_launcher" in error.message


def test_launch_waits_for_a_host_that_is_being_restarted(fast: Any, running: Any) -> None:
    running.end(signal.SIGTERM)
    run_id = fast.create()
    launching = threading.Thread(target=fast.launch, args=[run_id])
    launching.start()
    running.start()
    launching.join()
    assert fast.wait(run_id).status == SUCCESS


def test_stopped_host_interrupts_its_runs_and_ends(fast: Any, running: Any, fifo: Any) -> None:
    run_id = fast.start(action="block", fifo=str(fifo.path))
    fifo.line()
    assert running.end(signal.SIGTERM) == 0
    assert fast.wait(run_id).status == FAILURE


def test_host_ends_with_the_process_that_started_it(code: Path, tmp_path: Path) -> None:
    path = tmp_path / "host" / "run.sock"
    command = [sys.executable, "-m", "threads_agent_dagster.dagster_fast.run_host", "--socket", str(path)]
    script = (
        "import subprocess, sys, time\n"
        f"host = subprocess.Popen({command!r})\n"
        "print(host.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as starter:
        assert starter.stdout is not None
        host = psutil.Process(int(starter.stdout.readline()))
        assert wire.ask(path, {"op": "status", "run_id": "any"}, patience=60, timeout=60)["pid"] is None
    assert psutil.wait_procs([host], timeout=30)[1] == []


# The host reloads


def test_reload_keeps_pid_socket_and_workers(
    fast: Any, running: Any, fifo: Any, gate: Any, until: Callable[..., Any]
) -> None:
    run_id = fast.start(action="gate", fifo=str(fifo.path), gate=str(gate.path))
    worker = int(fifo.line())
    pid, ready = running.pid, running.times_ready()
    os.kill(pid, signal.SIGHUP)
    until(lambda: running.times_ready() > ready, "the host to be ready again")
    status = wire.ask(running.socket, {"op": "status", "run_id": run_id}, patience=0, timeout=60)
    assert status == {"pid": worker, "ended": None}
    gate.open_gate()
    assert fast.wait(run_id).status == SUCCESS
    assert running.pid == pid
    assert running.is_running()


def test_launch_during_a_reload_is_not_lost(fast: Any, running: Any) -> None:
    os.kill(running.pid, signal.SIGHUP)
    assert fast.run().status == SUCCESS


# What is preloaded, and what must not be


def test_host_holds_no_database_connection(fast: Any, running: Any) -> None:
    assert fast.run().status == SUCCESS
    host = psutil.Process(running.pid)
    assert host.net_connections(kind="inet") == []


def test_run_imports_next_to_nothing_after_the_fork(fast: Any, code: Path) -> None:
    run = fast.run(assets=["imported"])
    after = set(json.loads(fast.metadata(run.run_id, "imported")["modules"]))
    probe = (
        "import json, sys; from threads_agent_dagster.dagster_fast import run_host, preload; "
        "preload.preload(['location']); print(json.dumps(sorted(sys.modules)))"
    )
    before = subprocess.run([sys.executable, "-c", probe], cwd=code, capture_output=True, check=True, text=True)
    late = after - set(json.loads(before.stdout)) - {"__mp_main__"}
    assert len(late) <= 12, sorted(late)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=[60], daemon=True).start()", "threads"),
        ("import socket\nkept = socket.create_server(('127.0.0.1', 0))", "sockets"),
    ],
)
def test_code_that_cannot_be_forked_is_refused(tmp_path: Path, source: str, complaint: str) -> None:
    (tmp_path / "unforkable.py").write_text(source)
    command = [sys.executable, "-m", "threads_agent_dagster.dagster_fast.run_host", "--module", "unforkable"]
    path = tmp_path / "host" / "run.sock"
    refused = subprocess.run([*command, "--socket", str(path)], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 1
    assert complaint in refused.stderr
    assert "ConfigurationError" in refused.stderr


def test_file_saved_while_it_is_loaded_counts_as_changed(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    os.utime(source, (1, 1))
    assert source not in Sources([source], since=2_000_000_000).changed()
    os.utime(source)
    since = source.stat().st_mtime_ns - 1
    assert source in Sources([source], since=since).changed()


def test_deleted_file_counts_as_changed(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    os.utime(source, (1, 1))
    loaded = Sources([source], since=2_000_000_000)
    source.unlink()
    assert source in loaded.changed()


# Who may speak to it


def test_socket_is_private(running: Any, fast: Any) -> None:
    assert fast.run().status == SUCCESS
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.socket.parent.stat().st_mode) == 0o700


def test_socket_in_an_open_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="private"):
        wire.listen(tmp_path / "run.sock")


def test_second_host_on_the_same_socket_is_refused(running: Any, fast: Any) -> None:
    command = [sys.executable, "-m", "threads_agent_dagster.dagster_fast.run_host", "--socket", str(running.socket)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "another run host" in refused.stderr
    assert fast.run().status == SUCCESS


@pytest.mark.parametrize("message", [b"{}", b"[]", b"not json", b'{"op": "dance", "run_id": "x"}'])
def test_nonsense_does_not_stop_the_host(running: Any, fast: Any, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(running.socket))
        connection.send(message)
        connection.settimeout(60)
        assert connection.recv(100) == b""
    answer = wire.ask(running.socket, {"op": "status", "run_id": "none"}, patience=0, timeout=60)
    assert answer == {"pid": None, "ended": None}


def test_run_that_executes_already_is_refused(fast: Any, fifo: Any, gate: Any, running: Any) -> None:
    run_id = fast.start(action="gate", fifo=str(fifo.path), gate=str(gate.path))
    fifo.line()
    again = wire.ask(running.socket, {"op": "launch", "run_id": run_id, "instance_ref": ""}, patience=0, timeout=60)
    assert again == {"error": "it is executing already"}
    gate.open_gate()
    assert fast.wait(run_id).status == SUCCESS
