"""Where the platform of a home answers: `endpoints.json`, which exists from ready to stop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from threads_agent_dagster.errors import Conflict
from threads_agent_dagster.local.home import Home, read_json, write_json
from threads_agent_dagster.local.processes import same_process
from threads_agent_dagster.settings import Settings

SERVICES = ("orchestrator", "achievements", "prompts", "dagster", "dash")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - addresses to listen on, with one to connect to


@dataclass(frozen=True)
class Endpoints:
    """The URLs of one running platform."""

    orchestrator: str
    achievements: str
    prompts: str
    dagster: str
    dash: str
    database_url: str
    api_key_file: str

    @classmethod
    def of(cls, settings: Settings, database_url: str, api_key_file: Path) -> Endpoints:
        """What `settings` say, on addresses that one can connect to."""
        host = EVERYWHERE.get(settings.host, settings.host)
        reachable = settings.model_copy(update={"host": host})
        urls = {service: reachable.service_url(service) for service in SERVICES}
        return cls(**urls, database_url=database_url, api_key_file=str(api_key_file))

    def write(self, home: Home) -> None:
        """Announce them; only the owner may read, for the database's password is in them."""
        write_json(home.endpoints, asdict(self))


def read(home: Home) -> Endpoints:
    """The endpoints of the running platform. Raises Conflict when none runs."""
    found = read_json(home.endpoints)
    if found is None or not supervisor_lives(home):
        raise Conflict(f"no platform is ready in {home.root}; start it with `threads-agent up`")
    return Endpoints(**found)


def supervisor(home: Home) -> psutil.Process | None:
    """The process that runs the platform of a home; None when there is none, whatever files a killed one left."""
    state = read_json(home.state)
    return None if state is None else same_process(state["pid"], state["created"])


def supervisor_lives(home: Home) -> bool:
    """Whether the platform of a home is starting, running or stopping."""
    return supervisor(home) is not None
