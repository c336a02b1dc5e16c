"""`python -m threads_agent_dagster.local.standby MODULE ARGUMENTS`: MODULE's `main`, imported before it is needed.

Importing is most of what a restart takes. So the next process of a service imports while this one serves, and begins
at a line on its standard input; when that ends without one, its supervisor is gone and it ends too.
"""

from __future__ import annotations

import importlib
import select
import sys

PATIENCE_SECONDS = 2.0  # before it imports without being needed, so that it does not slow what starts beside it


def main(module: str, arguments: list[str]) -> int:
    select.select([sys.stdin], [], [], PATIENCE_SECONDS)
    loaded = importlib.import_module(module)
    if not sys.stdin.readline():
        return 0
    return int(loaded.main(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
