"""A reader who opened the Overview once and never reloads it, while everything behind it dies."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Page, sync_playwright

from threads_agent_dagster.local.endpoints import Endpoints

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPENED = "window.openedOnce = true"
SAME = "window.openedOnce === true"
NOTICES = "[...document.querySelectorAll('.outage')].filter((one) => one.checkVisibility()).map((one) => one.innerText)"
SHOWN = "document.getElementById('body')?.innerText"
LOOK_SECONDS = 0.5
CURRENT_SECONDS = 60.0


@dataclass
class Watch:
    """What the reader saw: how often the page said that it may be out of date, and whether it caught up in the end."""

    endpoints: Endpoints
    notices: int = 0
    reloaded: bool = False
    behind: str | None = None  # what a page opened at the end shows, if the first one does not come to show the same
    _stop: threading.Event = field(default_factory=threading.Event)
    _settled: bool = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Left normally, the page must catch up; so leave it when nothing moves any more."""
        with ThreadPoolExecutor(1) as apart:  # the browser's event loop is this thread's own
            done = apart.submit(self._watch)
            try:
                yield
                self._settled = True
            finally:
                self._stop.set()
            done.result()

    @property
    def faults(self) -> list[str]:
        found = ["it was reloaded"] if self.reloaded else []
        return found + ([] if self.behind is None else [f"it never came to show: {self.behind[:300]!r}"])

    def _watch(self) -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = self._open(browser.new_page())
            page.evaluate(OPENED)
            told = False
            while not self._stop.wait(LOOK_SECONDS):
                tells = bool(page.evaluate(NOTICES))
                self.notices += tells and not told
                told = tells
            if self._settled:
                self._catch_up(page, self._open(browser.new_page()))
            browser.close()

    def _open(self, page: Page) -> Page:
        page.goto(self.endpoints.dash)
        page.locator("#body > *").first.wait_for()
        return page

    def _catch_up(self, first: Page, fresh: Page) -> None:
        until = time.monotonic() + CURRENT_SECONDS
        while first.evaluate(NOTICES) or first.evaluate(SHOWN) != fresh.evaluate(SHOWN):
            if time.monotonic() > until:
                self.behind = f"{fresh.evaluate(SHOWN)} (it shows {first.evaluate(SHOWN)} {first.evaluate(NOTICES)})"
                break
            time.sleep(LOOK_SECONDS)
        self.reloaded = not first.evaluate(SAME)
