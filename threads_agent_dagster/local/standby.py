"""`python -m threads_agent_dagster.local.standby MODULE ARGUMENTS`: MODULE imported before it is needed.

Importing is most of what a restart takes, so it is done once: MODULE's `prepare(ARGUMENTS)` does all that can be done
beforehand and returns what serves. At each byte on standard input whoever waits forks, the old one serves and the new
one waits for the next byte. It ends instead when a file that it has loaded is another one by now, and when the input
ends: then the supervisor is gone.
"""

from __future__ import annotations

import importlib
import os
import sys
import time

from threads_agent_dagster.dagster_fast.sources import Sources


def main(module: str, arguments: list[str]) -> int:
    since = time.time_ns()
    serve = importlib.import_module(module).prepare(arguments)
    sources = Sources((), since)
    while os.read(sys.stdin.fileno(), 1):
        if sources.changed():
            return 0
        if os.fork():
            return int(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
