"""`python -m threads_agent_dagster.api orchestrator achievements prompts`: one process, each app on its own port."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import uvicorn
from fastapi import FastAPI

from threads_agent_dagster.api.apps import ROUTERS, create_app
from threads_agent_dagster.errors import ConfigurationError, ThreadsAgentError
from threads_agent_dagster.settings import Settings, variable_name

BACKLOG = 2048
GRACE_SECONDS = 10


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals go to all servers of the process, so none of them may take them for itself."""
        yield


def _listen(name: str, settings: Settings) -> socket.socket:
    port: int = getattr(settings, f"{name}_port")
    try:
        listener = socket.create_server((settings.host, port), backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"{name} cannot listen on {settings.host}:{port} ({error.strerror}); "
            f"choose another port with {variable_name(f'{name}_port')}"
        ) from error
    # asyncio leaves Nagle's algorithm on for a socket that it did not make: each answer would wait 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _server(app: FastAPI) -> _Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Server(config)


async def _serve(names: Sequence[str], settings: Settings) -> None:
    listeners = {name: _listen(name, settings) for name in names}
    apps = {name: create_app(name, settings) for name in names}
    servers = {name: _server(app) for name, app in apps.items()}

    def stop() -> None:
        for name, server in servers.items():
            apps[name].state.feed.close()  # a stream has no end of its own, and the server waits for it
            server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    for name, listener in listeners.items():
        logging.info("%s listens on %s:%d", name, *listener.getsockname()[:2])
    async with asyncio.TaskGroup() as group:
        for name, server in servers.items():
            group.create_task(server.serve(sockets=[listeners[name]]))


def prepare(arguments: Sequence[str] | None = None) -> Callable[[], int]:
    """What serves the named apps until a signal ends it; an error of the settings is logged, and 1 returned."""
    parser = argparse.ArgumentParser(prog="python -m threads_agent_dagster.api", description=__doc__)
    parser.add_argument("apps", nargs="+", choices=sorted(ROUTERS))
    return partial(_run, list(dict.fromkeys(parser.parse_args(arguments).apps)))


def _run(names: Sequence[str]) -> int:
    settings = Settings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(names, settings))
    except ThreadsAgentError as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(prepare()())
