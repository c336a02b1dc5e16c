"""Commands as people can type them where they are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from threads_agent_dagster.settings import Settings

PROGRAM = "threads-agent"


def command(home: Path, words: str) -> str:
    """The command line; with --home where the settings would lead it elsewhere."""
    usual = Settings().home.expanduser().absolute()
    return f"{_program()} {words}" + ("" if home == usual else f" --home {home}")


def _program() -> str:
    """`threads-agent`, with its folder where a shell would not find it."""
    script = Path(sys.executable).with_name(PROGRAM)
    if shutil.which(PROGRAM) or not script.exists():
        return PROGRAM
    return str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)
