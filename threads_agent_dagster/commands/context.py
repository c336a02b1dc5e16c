"""What all commands share: the options for the home and JSON, the settings and the database in effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threads_agent_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from threads_agent_dagster.settings import Settings

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder that holds all data; default: THREADS_AGENT_HOME.", metavar="DIR")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def read_settings(home: Path | None) -> Settings:
    """The settings in effect, with `--home` over the environment. Raises ConfigurationError that names the setting."""
    from pydantic import ValidationError

    from threads_agent_dagster.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    chosen = settings.home if home is None else home
    return settings.model_copy(update={"home": chosen.expanduser().absolute()})


def database_url(settings: Settings) -> str:
    """The configured database, else the one of the running platform."""
    from threads_agent_dagster.local.endpoints import read
    from threads_agent_dagster.local.home import Home

    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return read(Home(settings.home)).database_url


@contextmanager
def database(home: Path | None) -> Iterator[Engine]:
    """An engine on the database in effect."""
    from threads_agent_dagster.db.engine import make_engine

    engine = make_engine(database_url(read_settings(home)), application="threads-agent-cli")
    try:
        yield engine
    finally:
        engine.dispose()


def typed(home: Path | None, words: str) -> str:
    """The command `threads-agent` with these words, as it can be typed here for this home."""
    from threads_agent_dagster.local.hints import command

    return command(read_settings(home).home, words)


def count(number: int, one: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {one}" + ("" if number == 1 else "s")
