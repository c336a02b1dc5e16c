"""`threads-agent ...`: assembles the commands; every failure of ours is one line and a non-zero exit code."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from threads_agent_dagster.commands import backup, dead_letters, platform
from threads_agent_dagster.errors import ThreadsAgentError

# Groups whose module is imported only when one of them is called: name -> (module, help).
LATER = {
    "import": ("imports", "Bring in what already exists, and take it away again."),
    "backfill": ("backfills", "Make history anew, after saying what it costs."),
    "github": ("github", "GitHub repositories whose merged pull requests come in by themselves."),
    "task": ("tasks", "Ask for work."),
    "me": ("me", "Whose achievements are shown first: your e-mails and logins."),
    "demo": ("demo", "The demo data that `up --demo` brings."),
    "emotions": ("emotions", "Emotion scores and trajectories."),
    "experiments": ("experiments", "Experiments, verdicts and their statistics."),
    "portfolio": ("portfolio", "The portfolio as a file, and checking such a file."),
    "hooks": ("hooks", "Hooks: the first lines of posts."),
}


def assemble(arguments: Sequence[str]) -> typer.Typer:
    """The whole command; of the groups in LATER only the one that `arguments` call has its commands."""
    app = typer.Typer(
        name="threads-agent",
        help="What you ship and what you post become tables you can trust.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    everyday = (platform.up, platform.down, platform.status, platform.doctor)
    for command in (*everyday, backup.backup, backup.restore, backup.verify, dead_letters.redrive):
        app.command()(command)
    app.add_typer(platform.config, name="config")
    app.add_typer(platform.db, name="db")
    for name, (module, text) in LATER.items():
        group = _group(module) if name in arguments[:1] else typer.Typer()
        app.add_typer(group, name=name, help=text)
    return app


def main() -> None:
    """The entry point of the script `threads-agent`."""
    try:
        assemble(sys.argv[1:])()
    except ThreadsAgentError as error:
        sys.stderr.write(f"threads-agent: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from None


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(importlib.metadata.version("threads-agent-dagster"))
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What may stand before the command."""


def _group(module: str) -> typer.Typer:
    group: typer.Typer = importlib.import_module(f"threads_agent_dagster.commands.{module}").app
    return group


if __name__ == "__main__":
    main()
