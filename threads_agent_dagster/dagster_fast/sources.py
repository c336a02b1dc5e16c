"""Which of the project's own files a process has loaded, and whether they are still the same."""

from __future__ import annotations

import site
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

CLOCK_NS = 20_000_000  # file times may lag this much behind the clock
Stamp = tuple[int, int]


class Sources:
    """The project's own files as they were when they were loaded; the interpreter and installed packages are left out.

    Who upgrades packages restarts the process.
    """

    def __init__(self, more: Iterable[Path], since: int) -> None:
        """`more` are files to watch that are no modules; `since` is when loading began (ns since the epoch)."""
        stamps = {path: _stamp(path) for path in {*_loaded(), *more}}
        now = time.time_ns()
        # Who was saved while we were loading may have been read before or after: counts as changed.
        self._stamps = {
            path: None if stamp and since - CLOCK_NS <= stamp[0] <= now else stamp for path, stamp in stamps.items()
        }

    def changed(self) -> list[Path]:
        """The files that differ now from what was loaded, deleted ones included."""
        return [path for path, stamp in self._stamps.items() if _stamp(path) != stamp]


def of_failed_import(error: BaseException) -> set[Path]:
    """The files to watch when an import failed: those on its traceback and, for a syntax error, the one at fault."""
    files = {Path(frame) for frame in _frames(error.__traceback__)}
    if isinstance(error, SyntaxError) and error.filename:
        files.add(Path(error.filename))
    return {path for path in files if path.is_file() and not _installed(path)}


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename
        traceback = traceback.tb_next


def _loaded() -> set[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {path for path in map(Path, filter(None, files)) if not _installed(path)}


def _installed(path: Path) -> bool:
    library = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages()]
    return any(path.is_relative_to(folder) for folder in library)


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
