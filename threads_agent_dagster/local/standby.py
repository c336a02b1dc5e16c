"""`python -m threads_agent_dagster.local.standby MODULE ARGUMENTS`: MODULE's `main`, imported before it is needed.

Importing is most of what a restart takes, so it is done once: at each byte on standard input whoever waits forks, the
old one serves and the new one waits for the next byte. When the input ends, the supervisor is gone, and so is the
one that waits.
"""

from __future__ import annotations

import importlib
import os
import sys


def main(module: str, arguments: list[str]) -> int:
    loaded = importlib.import_module(module)
    while os.read(sys.stdin.fileno(), 1):
        if os.fork():
            return int(loaded.main(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
