"""The database as a Dagster resource; the URL comes from the environment and never enters run config."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from threads_agent_dagster.errors import ConfigurationError
from threads_agent_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


class Database(dg.ConfigurableResource["Database"]):
    """PostgreSQL at DATABASE_URL."""

    _engine: Engine | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Database]:
        """This resource with an engine that lives as long as the run; nothing connects until it is used."""
        del context
        from threads_agent_dagster.db.engine import make_engine

        self._engine = make_engine(database_url(), application="threads-agent-run")
        try:
            yield self
        finally:
            self._engine.dispose()

    @property
    def engine(self) -> Engine:
        """The engine of the current run."""
        if self._engine is None:
            raise ConfigurationError("the database resource is used outside a run")
        return self._engine


def database_url() -> str:
    """DATABASE_URL of this process.

    Raises: ConfigurationError when it is not set.
    """
    url = Settings().database_url
    if url is None:
        raise ConfigurationError("DATABASE_URL is not set; `threads-agent up` sets it, or point it at your PostgreSQL")
    return url.get_secret_value()
