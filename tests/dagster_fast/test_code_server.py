"""The code server that has imported the definitions before it serves: what it shows, and when it reloads."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster_shared.serdes import deserialize_value

from threads_agent_dagster.local.ports import free_ports

pytestmark = pytest.mark.timeout(120)
GOOD = """
import dagster as dg

@dg.asset
def counted(): ...

defs = dg.Definitions(assets=[counted])
"""
BROKEN = "raise RuntimeError('the reason')"


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], DagsterGrpcClient]]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "threads_agent_dagster.local.standby"]
    command += ["threads_agent_dagster.dagster_fast.code_server", "--module", "location", "--location-name", "here"]
    command += ["--working-directory", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            client = DagsterGrpcClient(host="127.0.0.1", port=port)
            _await(client)
            yield process, client
        finally:
            process.stdin.close()
            process.kill()


def _await(client: DagsterGrpcClient) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            client.ping("are you there?")
        except DagsterUserCodeUnreachableError:
            assert time.monotonic() < until, "it never answered"
            time.sleep(0.05)
        else:
            return


def _shown(client: DagsterGrpcClient) -> Any:
    return deserialize_value(client.list_repositories())


def test_a_reload_without_changes_leaves_it_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "location.py").write_text(GOOD)
    with _serving(tmp_path) as (process, client):
        server = client.get_server_id()
        assert [one.repository_name for one in _shown(client).repository_symbols] == ["__repository__"]
        client.reload_code(timeout=10)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert client.get_server_id() == server


def test_a_reload_after_a_change_ends_it_even_while_it_could_not_be_imported(tmp_path: Path) -> None:
    (tmp_path / "location.py").write_text(BROKEN)
    with _serving(tmp_path) as (process, client):
        assert "the reason" in str(_shown(client))
        (tmp_path / "location.py").write_text(GOOD)
        client.reload_code(timeout=10)
        assert process.wait(30) == 0
    with _serving(tmp_path) as (_, client):
        assert len(_shown(client).repository_symbols) == 1
