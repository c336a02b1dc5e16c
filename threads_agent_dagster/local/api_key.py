"""The key of the person who runs the platform."""

from __future__ import annotations

from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.errors import Unauthorized
from threads_agent_dagster.local.home import Home, write_private
from threads_agent_dagster.work import api_keys

NAME = "local"
SCOPES = ("admin",)


def ensure(home: Home, database_url: str) -> str | None:
    """The new key, when one had to be made: on first start, or when the database does not know the one in the file."""
    engine = make_engine(database_url)
    try:
        if home.api_key.exists():
            try:
                api_keys.verify(engine, home.api_key.read_text().strip())
            except Unauthorized:
                pass
            else:
                return None
        key = api_keys.create(engine, NAME, SCOPES)
        write_private(home.api_key, key + "\n")
        return key
    finally:
        engine.dispose()
