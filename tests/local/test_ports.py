"""Ports: free ones are free, taken ones are named with their holder and the way out."""

from __future__ import annotations

import os
import socket

import pytest

from threads_agent_dagster.errors import Conflict
from threads_agent_dagster.local.ports import answers, free_ports, is_free, refuse_taken


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(map(is_free, ports))


def test_a_taken_port_is_named_with_its_holder_and_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        assert answers(port)
        with pytest.raises(Conflict) as failure:
            refuse_taken({"dash_port": port}, "127.0.0.1")
    for part in (str(port), f"process {os.getpid()}", "THREADS_AGENT_DASH_PORT", "--ports auto"):
        assert part in str(failure.value)
