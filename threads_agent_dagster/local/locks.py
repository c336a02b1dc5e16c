"""One owner per folder, by file lock; the kernel lets go of it when the last process that holds it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from threads_agent_dagster.errors import Conflict


def hold(path: Path, what: str) -> IO[str]:
    """The locked file; closing it gives the lock back. Raises Conflict, naming the owner, when another holds it."""
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise Conflict(f"{what} is already run by process {owner}; stop that one first") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
