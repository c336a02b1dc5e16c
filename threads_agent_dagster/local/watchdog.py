"""Ends what a supervisor leaves behind when it is killed: `python -m ...watchdog HOME_KEY [CLUSTER]`.

The supervisor holds the other end of standard input and never writes. End of file means that it has ended: then
nothing is left (it stopped everything itself) or it was killed, and its processes are ended from here, PostgreSQL
last. The supervisor's lock is inherited, so a new one cannot begin before this has finished.
"""

from __future__ import annotations

import sys
from pathlib import Path

from threads_agent_dagster.local.processes import end_marked, end_server

GRACE_SECONDS = 5.0


def main(arguments: list[str]) -> None:
    """Wait for the supervisor's end, then sweep."""
    key, *clusters = arguments
    sys.stdin.read()
    end_marked(f"{key}/", GRACE_SECONDS)
    for cluster in clusters:
        end_server(Path(cluster))


if __name__ == "__main__":
    main(sys.argv[1:])
