"""Answers that are kept until a write makes them old.

In this process, and right with several: the database tells every process of every write (NOTIFY at its commit). While
nothing is heard from the database nothing is kept, so that an answer is never older than a lost notice.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import OrderedDict
from collections.abc import Callable

import psycopg

from threads_agent_dagster.db.engine import libpq_url

CHANNEL = "written"  # what the triggers notify, with the table's name
MOST = 512  # answers kept; a page of a list has some ten thousand bytes
RETRY_SECONDS = 1.0


class Cache:
    """Bytes by key. Listens from the first question on; `close` ends that."""

    def __init__(self, database_url: str) -> None:
        self._url = libpq_url(database_url)
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._listening = threading.Event()
        self._generation = 0
        self._thread: threading.Thread | None = None
        self._stop_read, self._stop_write = os.pipe()

    def answer(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What is kept under `key`; else what `make` returns, kept unless something was written meanwhile."""
        self._start()
        with self._lock:
            generation, found = self._generation, self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = make()
        with self._lock:
            if self._listening.is_set() and generation == self._generation:
                self._kept[key] = made
                while len(self._kept) > MOST:
                    self._kept.popitem(last=False)
        return made

    def forget(self) -> None:
        """Nothing that was read before is answered again; for who has just written and reads on."""
        with self._lock:
            self._generation += 1
            self._kept.clear()

    def wait_until_listening(self, seconds: float) -> bool:
        """Whether the database is heard within that time."""
        self._start()
        return self._listening.wait(seconds)

    def close(self) -> None:
        """Stops listening."""
        os.write(self._stop_write, b".")
        if self._thread is not None:
            self._thread.join()
        for end in (self._stop_read, self._stop_write):
            os.close(end)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="cache", daemon=True)
                self._thread.start()

    def _listen(self) -> None:
        while not self._stopped(0):
            with contextlib.suppress(psycopg.OperationalError):
                self._hear()
            self._listening.clear()
            self.forget()
            if self._stopped(RETRY_SECONDS):
                return

    def _hear(self) -> None:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self.forget()  # what was written before is seen by every read from now on
            self._listening.set()
            while not self._stopped(None, connection.fileno()):
                for _ in connection.notifies(timeout=0):
                    self.forget()

    def _stopped(self, seconds: float | None, *others: int) -> bool:
        """Waits for the end, another file or the time; whether it is the end."""
        ready, _, _ = select.select([self._stop_read, *others], [], [], seconds)
        return self._stop_read in ready
