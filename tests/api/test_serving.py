"""`python -m threads_agent_dagster.api`: a real process on real sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from threads_agent_dagster.api.__main__ import _listen
from threads_agent_dagster.settings import Settings

NAMES = ("orchestrator", "achievements", "prompts")
LISTENS = re.compile(r"(\w+) listens on ([\d.]+):(\d+)")


def _environment(database_url: str, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    ports = {f"THREADS_AGENT_{name.upper()}_PORT": "0" for name in NAMES}
    return {**kept, "DATABASE_URL": database_url, **ports, **more}


@contextmanager
def _started(environment: dict[str, str], *names: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "threads_agent_dagster.api", *names]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    """The base URL of each app, as the process logs them."""
    assert process.stderr is not None
    found: dict[str, str] = {}
    while len(found) < len(NAMES):
        line = process.stderr.readline()
        assert line, "the process ended before it listened"
        if match := LISTENS.search(line):
            found[match[1]] = f"http://{match[2]}:{match[3]}"
    return found


@pytest.mark.timeout(120)
def test_one_process_serves_all_apps_and_ends_on_sigterm(
    database_url: str, key: Callable[[str], str], post_id: int
) -> None:
    with _started(_environment(database_url), *NAMES) as process:
        addresses = _addresses(process)
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(transport=transport, headers={"X-API-Key": key("editor")}, timeout=30) as caller:
            for name, address in addresses.items():
                assert caller.get(f"{address}/health").json() == {"status": "ok", "service": name}
            body = {"type": "emotion.analysis", "payload": {"post_id": post_id}}
            answer = caller.post(f"{addresses['orchestrator']}/task", json=body)
            assert answer.status_code == 202
            with caller.stream("GET", f"{addresses['orchestrator']}/events") as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("data: ")
                process.send_signal(signal.SIGTERM)
                list(lines)  # raises when the stream is torn instead of ended
        assert process.wait(30) == 0


def test_a_port_that_is_taken_is_named_with_its_setting(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = _environment(database_url, THREADS_AGENT_PROMPTS_PORT=port)
        with _started(environment, "prompts") as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert port in errors
    assert "THREADS_AGENT_PROMPTS_PORT" in errors
    assert "Traceback" not in errors


def test_without_a_database_it_says_what_to_set() -> None:
    environment = _environment("")
    with _started(environment, "orchestrator") as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "DATABASE_URL" in errors


def test_an_answer_does_not_wait_for_the_caller_to_acknowledge_its_headers() -> None:
    with (
        _listen("orchestrator", Settings(orchestrator_port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
