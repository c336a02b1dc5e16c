"""Choosing TCP ports, and saying who holds one that is taken."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from threads_agent_dagster.errors import Conflict
from threads_agent_dagster.local.processes import describe, listener
from threads_agent_dagster.settings import variable_name

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now; a port in TIME_WAIT is free, one that somebody listens on is not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def answers(port: int, host: str = LOOPBACK) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Distinct ports that nobody listens on; all are held open until the last is known."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def refuse_taken(ports: Mapping[str, int], host: str) -> None:
    """Raises Conflict that names every taken port, its holder and the setting (the mapping's key) that moves it."""
    taken = [_complaint(field, port) for field, port in ports.items() if not is_free(port, host)]
    if taken:
        raise Conflict(f"{'; '.join(taken)}; or let `--ports auto` choose free ones")


def _complaint(field: str, port: int) -> str:
    holder = listener(port)
    by = describe(holder) if holder else "a process of another user"
    return f"port {port} is taken by {by}: stop it or set {variable_name(field)}"
