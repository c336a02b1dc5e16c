"""The supervisor with real processes: order, restarts, endings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.local import standby
from threads_agent_dagster.local.home import Home, read_json
from threads_agent_dagster.local.logs import older
from threads_agent_dagster.local.ports import answers, free_ports, is_free
from threads_agent_dagster.local.processes import end_marked, marked
from threads_agent_dagster.local.services import Program
from threads_agent_dagster.local.supervisor import Supervisor

LISTENS = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(600)
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + LISTENS
BEGETS = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
{LISTENS}
"""
CHATTERS = f"""
import threading
def chatter():
    number = 0
    while True:
        print(f"line {{number}}", flush=True)
        number += 1
threading.Thread(target=chatter, daemon=True).start()
{LISTENS}
"""
IS_IMPORTED = """
import os, pathlib, runpy, sys
pathlib.Path(f"imported {os.getpid()}").touch()
def prepare(arguments):
    sys.argv[1:] = arguments
    return lambda: runpy.run_path("begets.py")
"""
FAILS = "print('the reason'); raise SystemExit(3)"
SUPERVISES = """
import sys
from pathlib import Path
from threading import Event
from threads_agent_dagster.local import standby
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.locks import hold
from threads_agent_dagster.local.ports import answers
from threads_agent_dagster.local.services import Program, Watchdog
from threads_agent_dagster.local.supervisor import Supervisor
import os
home, port, child = Home(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
lock = hold(home.lock, "this")
supervisor = Supervisor(home.state, print)
supervisor.start([Watchdog(home.key, home.log("watchdog"), lock, None)])
command = [sys.executable, "-c", child, str(port)]
ready = lambda: answers(port)
supervisor.start([Program("child", command, dict(os.environ), home.root, home.log("child"), home.key, ready)])
print("ready", flush=True)
supervisor.watch(Event())
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    home.create()
    yield home
    end_marked(f"{home.key}/", 0.1)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(home: Home, said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(home.state, said.append)
    yield supervisor
    supervisor.stop()


def _program(home: Home, name: str, code: str, port: int, grace: float = 5.0) -> Program:
    return Program(
        name=name,
        command=[sys.executable, "-c", code, str(port)],
        environment=dict(os.environ),
        folder=home.root,
        log=home.log(name),
        home_key=home.key,
        ready=lambda: answers(port),
        ports=[port],
        grace_seconds=grace,
    )


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Watching:
    """Runs `watch` in a thread while a test kills things."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=supervisor.watch, args=[self._stop])

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_start_returns_when_all_are_ready(supervisor: Supervisor, home: Home) -> None:
    first, second = free_ports(2)
    supervisor.start([_program(home, "first", LISTENS, first), _program(home, "second", LISTENS, second)])
    assert answers(first)
    assert answers(second)
    state = read_json(home.state)
    assert state is not None
    assert state["pid"] == os.getpid()
    assert [service["name"] for service in state["services"]] == ["first", "second"]


def test_a_program_that_fails_at_once_is_named_with_its_last_words(supervisor: Supervisor, home: Home) -> None:
    with pytest.raises(Unavailable, match=r"broken did not start \(exit code 3\): the reason"):
        supervisor.start([_program(home, "broken", FAILS, free_ports(1)[0])])


def test_a_program_that_never_answers_is_named(supervisor: Supervisor, home: Home) -> None:
    silent = _program(home, "silent", "import time; time.sleep(600)", free_ports(1)[0])
    with pytest.raises(Unavailable, match="silent runs but does not answer"):
        supervisor.start([silent], ready_seconds=0.5)


def test_the_next_one_waits_imported_while_the_first_serves(supervisor: Supervisor, home: Home) -> None:
    (home.root / "is_imported.py").write_text(IS_IMPORTED)
    (home.root / "begets.py").write_text(BEGETS)
    program = _program(home, "child", "", free_ports(1)[0])
    program.command = [sys.executable, "-m", standby.__name__, "is_imported", *program.command[-1:]]
    program.environment = {**os.environ, "PYTHONPATH": str(home.root)}
    program.standby = True
    supervisor.start([program])
    begun = program.pid
    with Watching(supervisor):
        for _ in range(2):
            first, (child, waiting) = program.pid, _others(home, program)
            assert first is not None
            os.kill(first, signal.SIGKILL)
            _until(lambda: program.pid != first and program.is_ready())  # noqa: B023 - called before it moves on
            assert program.pid == waiting.pid
            assert child not in marked(f"{home.key}/")
        assert [path.name for path in home.root.glob("imported *")] == [f"imported {begun}"]
        for process in marked(f"{home.key}/"):  # nobody waits any more: another begins from the beginning
            process.kill()
        _until(lambda: _imports(home) == 2 and program.is_alive() and program.is_ready())
        _others(home, program)
        (home.root / "is_imported.py").touch()  # saved: what waits has imported what is no longer so
        assert program.pid is not None
        os.kill(program.pid, signal.SIGKILL)
        _until(lambda: _imports(home) == 3 and program.is_alive() and program.is_ready())
    supervisor.stop()
    assert marked(f"{home.key}/") == []


def _imports(home: Home) -> int:
    return len(list(home.root.glob("imported *")))


def _others(home: Home, program: Program) -> list[psutil.Process]:
    """The child of who serves, and who waits."""
    _until(lambda: len(marked(f"{home.key}/")) == 3)
    others = (process for process in marked(f"{home.key}/") if process.pid != program.pid)
    return sorted(others, key=lambda process: process.cmdline() == list(program.command))


def test_one_that_waits_ends_with_its_supervisor() -> None:
    command = [sys.executable, "-m", standby.__name__, "threads_agent_dagster.api.__main__", "orchestrator"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_stop_ends_last_started_first_and_leaves_nothing(supervisor: Supervisor, home: Home) -> None:
    ports = free_ports(2)
    first, second = (_program(home, name, BEGETS, port) for name, port in zip(("first", "second"), ports, strict=True))
    ended: list[str] = []
    _note(first, ended)
    _note(second, ended)
    supervisor.start([first, second])
    assert len(marked(f"{home.key}/")) == 4  # each has a child in a session of its own
    supervisor.stop()
    assert ended == ["second", "first"]
    assert marked(f"{home.key}/") == []
    assert all(map(is_free, ports))
    assert not home.state.exists()


def _note(program: Program, ended: list[str]) -> None:
    stop = program.stop

    def noting() -> None:
        stop()
        ended.append(program.name)

    program.stop = noting  # type: ignore[method-assign]


def test_what_ignores_sigterm_is_killed_after_the_grace_period(supervisor: Supervisor, home: Home) -> None:
    port = free_ports(1)[0]
    deaf = _program(home, "deaf", DEAF, port, grace=0.3)
    supervisor.start([deaf])
    supervisor.stop()
    assert is_free(port)
    assert deaf.exit_reason() == "killed by SIGKILL"


def test_a_crash_is_reported_and_repaired(supervisor: Supervisor, home: Home, said: list[str]) -> None:
    port = free_ports(1)[0]
    program = _program(home, "child", LISTENS, port)
    supervisor.start([program])
    victim = program.pid
    assert victim is not None
    with Watching(supervisor):
        os.kill(victim, signal.SIGKILL)
        _until(lambda: program.pid != victim and answers(port))
    assert said[0].startswith("child ended (killed by SIGKILL); restarting in 0.1 s")
    assert said[1] == "child runs again"


@pytest.mark.parametrize("outlived", [False, True])
def test_children_end_with_a_program_unless_they_outlive_it(
    supervisor: Supervisor, home: Home, *, outlived: bool
) -> None:
    port = free_ports(1)[0]
    program = _program(home, "child", BEGETS, port)
    program.outlived = outlived
    supervisor.start([program])
    victim = program.pid
    (grandchild,) = psutil.Process(victim).children()
    with Watching(supervisor):
        psutil.Process(victim).kill()
        _until(lambda: program.pid != victim and answers(port))
    assert (grandchild in marked(f"{home.key}/")) == outlived
    supervisor.stop()
    assert marked(f"{home.key}/") == []


def test_the_delay_grows_while_it_keeps_dying(supervisor: Supervisor, home: Home, said: list[str]) -> None:
    port = free_ports(1)[0]
    once = home.root / "once"
    code = (
        f"import pathlib; once = pathlib.Path({str(once)!r}); (not once.exists()) or exit(3); once.touch()\n{LISTENS}"
    )
    program = _program(home, "child", code, port)
    supervisor.start([program])
    assert program.pid is not None
    with Watching(supervisor):
        os.kill(program.pid, signal.SIGKILL)
        _until(lambda: len([line for line in said if "restarting" in line]) == 3)
    delays = [line.split("restarting in ")[1].split(" s")[0] for line in said if "restarting" in line]
    assert delays == ["0.1", "0.2", "0.4"]


def test_what_a_crashed_program_left_is_ended_before_it_starts_again(supervisor: Supervisor, home: Home) -> None:
    port = free_ports(1)[0]
    program = _program(home, "child", BEGETS, port)
    supervisor.start([program])
    victim = program.pid
    assert victim is not None
    before = {process.pid for process in marked(f"{home.key}/")}
    with Watching(supervisor):
        os.kill(victim, signal.SIGKILL)
        _until(lambda: program.pid != victim and answers(port))
    assert not before & {process.pid for process in marked(f"{home.key}/")}


def test_a_log_is_begun_anew_once_it_is_too_large(home: Home) -> None:
    port = free_ports(1)[0]
    program = _program(home, "child", CHATTERS, port)
    supervisor = Supervisor(home.state, print, largest_log=100_000)
    supervisor.start([program])
    with Watching(supervisor):
        _until(lambda: older(program.log).exists())
        _until(lambda: _last_number(program.log) > _last_number(older(program.log)))  # it is still written to
    supervisor.stop()
    assert older(program.log).stat().st_size > 100_000
    assert b"\0" not in program.log.read_bytes()  # the writer went on at the new beginning


def _last_number(log: Path) -> int:
    complete = log.read_bytes().split(b"\n")[:-1]
    return int(complete[-1].split()[1]) if complete else -1


def test_a_second_listener_is_refused(supervisor: Supervisor, home: Home) -> None:
    port = free_ports(1)[0]
    supervisor.start([_program(home, "first", LISTENS, port)])
    with pytest.raises(Unavailable, match=rf"second needs port {port}, which .*process \d+.* has taken"):
        supervisor.start([_program(home, "second", LISTENS, port)])


def test_a_killed_supervisor_leaves_nothing_behind(home: Home) -> None:
    port = free_ports(1)[0]
    command = [sys.executable, "-c", SUPERVISES, str(home.root), str(port), BEGETS]
    supervisor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "ready\n"
    left = marked(f"{home.key}/")
    assert len(left) == 2
    supervisor.kill()
    supervisor.wait()
    gone, alive = psutil.wait_procs(left, timeout=30)
    assert alive == []
    assert len(gone) == 2
    assert is_free(port)
