"""How launcher and run host talk: one JSON message each way over a unix socket that keeps message boundaries."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threads_agent_dagster.errors import ConfigurationError, Unavailable

MESSAGE_BYTES = 1 << 17
RETRY_SECONDS = 0.05


def ask(path: Path, request: Mapping[str, Any], *, patience: float, timeout: float) -> dict[str, Any]:
    """The run host's answer.

    `patience` (s) bounds the wait for a host that is just being restarted, `timeout` (s) the wait for its answer. Once
    a request is sent it is never repeated: the host may have forked before its answer got lost. Raises Unavailable.
    """
    with _connect(path, patience) as connection:
        connection.settimeout(timeout)
        try:
            send(connection, request)
            return receive(connection)
        except (OSError, ValueError) as error:
            raise Unavailable(f"the run host at {path} did not answer {request['op']!r}: {error}") from error


def _connect(path: Path, patience: float) -> socket.socket:
    deadline = time.monotonic() + patience
    while True:
        connection = _socket()
        try:
            with _short(path) as address:
                connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"no run host answers at {path} ({error.strerror}); start it, or set run_launcher to Dagster's own"
                ) from error
        time.sleep(RETRY_SECONDS)


def listen(path: Path) -> socket.socket:
    """A listener only this user can reach. The caller holds the lock that says nobody else listens there.

    Raises ConfigurationError when the folder is open to others.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o077:
        raise ConfigurationError(f"{path.parent} must be private (chmod 700): who reaches the socket runs code as you")
    path.unlink(missing_ok=True)
    listener = _socket()
    try:
        with _short(path) as address:
            listener.bind(address)
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {path}: {error}") from error
    path.chmod(0o600)
    listener.listen(1024)
    return listener


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path by way of its folder's descriptor: the kernel takes no more than 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    connection.send(json.dumps(message).encode())


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next message. Raises ValueError on anything but one JSON object (an empty read is a closed connection)."""
    message = json.loads(connection.recv(MESSAGE_BYTES))
    if not isinstance(message, dict):
        raise ValueError(f"expected a JSON object, got {type(message).__name__}")
    return message


def _socket() -> socket.socket:
    if sys.platform != "linux":
        raise ConfigurationError("the run host needs Linux; elsewhere set THREADS_AGENT_RUN_LAUNCHER=default")
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
