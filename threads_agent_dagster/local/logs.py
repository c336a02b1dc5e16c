"""Keeps logs bounded without the help of those who write them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LARGEST_BYTES = 16 * 1024 * 1024


def older(log: Path) -> Path:
    """Where the lines before the current ones are."""
    return log.with_name(f"{log.name}.1")


def bound(log: Path, largest: int = LARGEST_BYTES) -> None:
    """Begin a log anew once it is larger; its content replaces the older one.

    The writer holds the file open for appending and goes on in the same file, so it is emptied, not renamed. What is
    written between the copy and that is lost.
    """
    try:
        if log.stat().st_size <= largest:
            return
    except FileNotFoundError:
        return
    try:
        shutil.copy(log, older(log))
    except OSError:  # a full disk, say: room counts for more than old lines then
        older(log).unlink(missing_ok=True)
    os.truncate(log, 0)
