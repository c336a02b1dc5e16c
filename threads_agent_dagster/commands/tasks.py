"""`threads-agent task add | show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from threads_agent_dagster.commands.context import HomeOption, JsonOption, read_settings, typed
from threads_agent_dagster.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from threads_agent_dagster.clients.platform import Platform

app = typer.Typer(help="Ask for work.", no_args_is_help=True)


@app.command("add")
def add(
    topic: Annotated[str | None, typer.Argument(help="What a post is about.")] = None,
    persona: Annotated[str | None, typer.Option(help="Whose voice it is written in.")] = None,
    text: Annotated[str | None, typer.Option(help="The facts to write from.")] = None,
    type_: Annotated[str, typer.Option("--type", help="The type of the task.")] = "content.generation",
    payload: Annotated[str | None, typer.Option(help="The whole payload as JSON, for other types.")] = None,
    priority: Annotated[str, typer.Option(help="high, medium or low")] = "medium",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a task, e.g. `task add "what we shipped this week"`."""
    content = {"topic": topic, "persona_id": persona, "original_input": text}
    body = {
        "type": type_,
        "payload": _json(payload) if payload else {name: value for name, value in content.items() if value is not None},
        "metadata": {"priority": priority},
    }
    with _orchestrator(home) as platform:
        task = platform.post("/task", body)
    shown = typed(home, f"task show {task['id']}")
    typer.echo(json.dumps(task) if as_json else f"task {task['id']} is queued; `{shown}` tells what became of it")


@app.command("show")
def show(task_id: Annotated[int, typer.Argument(metavar="ID")], home: HomeOption = None) -> None:
    """What became of a task, as JSON."""
    with _orchestrator(home) as platform:
        typer.echo(json.dumps(platform.get(f"/tasks/{task_id}"), indent=2))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"not JSON: {error}", field="--payload") from None


def _orchestrator(home: Path | None) -> Platform:
    from threads_agent_dagster.clients.platform import Platform
    from threads_agent_dagster.local.endpoints import read
    from threads_agent_dagster.local.home import Home

    settings = read_settings(home)
    endpoints = read(Home(settings.home))
    try:
        key = Path(endpoints.api_key_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"the API key cannot be read: {error}") from None
    return Platform(endpoints.orchestrator, key)
