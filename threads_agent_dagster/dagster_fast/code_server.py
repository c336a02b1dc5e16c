"""Dagster's code server on definitions that are imported before it is asked for.

`dagster code-server start` imports Dagster in one process and, with the definitions, in a second one: on two busy cores
that takes long, and meanwhile no sensor ticks. Here one process does both. `Reload` in Dagster's UI ends it
when files have changed since; whoever supervises it starts the next, which loads them.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import FuturesAwareThreadPoolExecutor
from dagster._grpc.__generated__ import dagster_api_pb2
from dagster._grpc.server import DagsterApiServer, DagsterGrpcServer
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster._utils.log import configure_loggers

from threads_agent_dagster.dagster_fast.preload import preload
from threads_agent_dagster.dagster_fast.sources import Sources

ANSWER_SECONDS = 0.2  # to tell who asked for a reload that it was heard
log = logging.getLogger("dagster.code_server")


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Imports the definitions; what it returns serves them until it is told to end. See `preload` for the errors."""
    parser = argparse.ArgumentParser(prog="code_server", description=__doc__)
    parser.add_argument("--module", required=True, help="the code location")
    parser.add_argument("--location-name", required=True)
    parser.add_argument("--working-directory", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    options = parser.parse_args(arguments)
    return partial(_serve, options, preload([options.module]))


class _Servicer(DagsterApiServer):
    """Answers a reload by ending, if there is something new to load."""

    def __init__(self, sources: Sources, **options: Any) -> None:
        super().__init__(**options)
        self._sources = sources

    def ReloadCode(self, _request: Any, _context: Any) -> Any:
        changed = self._sources.changed()
        if changed:
            log.info("ending to reload %s", ", ".join(map(str, changed[:3])))
            threading.Timer(ANSWER_SECONDS, os._exit, [0]).start()  # no sensor that waits for work holds it up
        return dagster_api_pb2.ReloadCodeReply()


def _serve(options: argparse.Namespace, sources: Sources) -> int:
    setup_interrupt_handlers()
    configure_loggers()
    ended, threads = threading.Event(), FuturesAwareThreadPoolExecutor()
    servicer = _Servicer(
        sources,
        server_termination_event=ended,
        logger=log,
        server_threadpool_executor=threads,
        loadable_target_origin=LoadableTargetOrigin(
            module_name=options.module, working_directory=options.working_directory
        ),
        location_name=options.location_name,
        lazy_load_user_code=True,  # what cannot be imported is shown in the UI
    )
    server = DagsterGrpcServer(ended, servicer, log, threads, host=options.host, port=options.port)
    log.info("serving %s on port %d in process %d", options.module, options.port, os.getpid())
    try:
        server.serve()  # type: ignore[no-untyped-call]
    except KeyboardInterrupt:  # what SIGTERM raises
        log.info("interrupted")
    return 0


if __name__ == "__main__":
    sys.exit(prepare(sys.argv[1:])())
