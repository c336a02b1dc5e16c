"""`dagster code-server start` as a `main` whose imports are done before it is called.

Dagster imports half of what this server needs only when it starts; a process that waits to take over has time for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster._grpc.proxy_server  # noqa: F401 - see above
from dagster._cli.code_server import start_command


def main(arguments: Sequence[str]) -> int:
    """Serves until it is told to end; the options are those of `dagster code-server start`."""
    start_command(args=list(arguments), prog_name="dagster code-server start")
    return 0
