"""Shows people what is happening: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Progress:
    """Writes to standard error, so that standard output stays for results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Shows `what` while it happens, and how long it took once it has; nothing more when it fails."""
        started = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"... {what}", markup=False)
        with self.console.status(what):
            yield
        self.console.print(f"[green]ok[/]  {what} [dim]{time.monotonic() - started:.1f} s[/]", soft_wrap=True)

    def line(self, text: str) -> None:
        """One thing that happened, on one line of its own."""
        self.console.print(text, markup=False, soft_wrap=True)
