"""Runs a platform in this process, or starts one in the background and waits until it is ready."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import TextIO

from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.local.endpoints import SERVICES, Endpoints, read, supervisor
from threads_agent_dagster.local.hints import command
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.platform import Platform
from threads_agent_dagster.local.programs import environment
from threads_agent_dagster.local.progress import Progress
from threads_agent_dagster.settings import Settings

POST = 'task add "what we shipped this week"'
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked for the end; not an Exception, so that nothing on the way takes it for a failure."""


def run(settings: Settings, *, demo: bool, auto_ports: bool) -> None:
    """Bring the platform up, keep it running until a signal asks for the end, stop it."""
    progress = Progress()
    platform = Platform(settings, progress)
    try:
        _on_signals(_raise_stopped)
        ready = platform.start(auto_ports=auto_ports)
        if demo:
            with _watched(platform):
                _load_demo(ready.endpoints.database_url, progress)
        # A key belongs on a person's screen, not in whatever log the output goes to.
        shown = ready.new_key if progress.console.is_terminal else None
        progress.line(summary(platform.home, ready.endpoints, shown, "Ctrl-C"))
        platform.watch(Event())
    except Stopped:
        _on_signals(signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        with progress.step("Stopping"):
            platform.stop()
    finally:
        _on_signals(signal.SIG_IGN)
        platform.stop()


def detach(settings: Settings, *, demo: bool, auto_ports: bool) -> None:
    """Start `up` in a session of its own; returns when it is ready. Raises Unavailable with its last words."""
    home = Home(settings.home)
    home.create()
    log = home.log("up")
    options = ["--home", str(home.root), *(["--demo"] if demo else []), *(["--ports", "auto"] if auto_ports else [])]
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "threads_agent_dagster.cli", "up", *options],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    progress = Progress()
    with progress.step("Starting in the background"), log.open(encoding="utf-8") as words:
        while not _is_ready(home, child.pid):
            _relay(words, progress)
            if child.poll() is not None:
                raise Unavailable(f"it did not start; {log} ends with: {log.read_text().strip().splitlines()[-1]}")
            time.sleep(0.2)
        _relay(words, progress)
    progress.line(summary(home, read(home), None, command(home.root, "down")))


def _relay(words: TextIO, progress: Progress) -> None:
    """Shows what it has done since the last time."""
    for line in words:
        if line.startswith("ok "):
            progress.line(line.rstrip())


def _is_ready(home: Home, pid: int) -> bool:
    process = supervisor(home)
    return process is not None and process.pid == pid and home.endpoints.exists()


def summary(home: Home, endpoints: Endpoints, key: str | None, ending: str) -> str:
    """What people need next: the addresses, the key, first things to try, and how to end it."""
    shown = f"{key}  (shown this once; kept in {home.api_key})" if key else f"in {home.api_key}"
    lines = ["", "The platform is ready.", f"  dashboard     {endpoints.dash}", f"  Dagster       {endpoints.dagster}"]
    lines += [f"  {name:13} {getattr(endpoints, name)}" for name in SERVICES[:3]]
    lines += [f"  API key       {shown}", f"  data          {home.root}", ""]
    lines += [
        "Try:",
        f"  your own history as achievements   {command(home.root, 'import git PATH')}",
        f"  a post                             {command(home.root, POST)}",
        f"  when something is odd              {command(home.root, 'doctor')}",
        f"  to end it                          {ending}",
    ]
    return "\n".join([*lines, ""])


@contextmanager
def _watched(platform: Platform) -> Iterator[None]:
    """What crashes while this process does something else is restarted as ever."""
    stop = Event()
    thread = Thread(target=platform.watch, args=[stop])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _load_demo(database_url: str, progress: Progress) -> None:
    from threads_agent_dagster.local import demo

    demo.load(database_url, progress.line)


def _raise_stopped(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _on_signals(handler: signal.Handlers | object) -> None:
    for number in ENDING:
        signal.signal(number, handler)  # type: ignore[arg-type]
