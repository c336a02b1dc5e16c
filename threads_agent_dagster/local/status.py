"""What runs in a home, from its state file and by asking."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from threads_agent_dagster.local.endpoints import SERVICES, Endpoints, supervisor_lives
from threads_agent_dagster.local.home import Home, read_json


@dataclass(frozen=True)
class Status:
    """One platform as it is now; `endpoints` are None until it is ready."""

    home: str
    pid: int | None
    services: list[dict[str, Any]]
    endpoints: Endpoints | None

    @property
    def ready(self) -> bool:
        return self.endpoints is not None and all(service["state"] == "running" for service in self.services)

    def as_json(self) -> dict[str, Any]:
        """The same for programs; without the database's URL, which holds a password."""
        urls = {} if self.endpoints is None else asdict(self.endpoints)
        urls.pop("database_url", None)
        return {"ready": self.ready, "home": self.home, "pid": self.pid, "services": self.services, "endpoints": urls}

    def as_text(self) -> str:
        """The same for people."""
        if self.pid is None:
            return f"nothing runs in {self.home}; start it with `threads-agent up`"
        lines = [f"{'ready' if self.ready else 'not ready'}, process {self.pid}, data in {self.home}"]
        lines += [f"  {s['name']:10} {s['state']}, process {s['pid']}, restarts {s['restarts']}" for s in self.services]
        if self.endpoints is not None:
            lines += [f"  {name:12} {getattr(self.endpoints, name)}" for name in SERVICES]
        return "\n".join(lines)


def of(home: Home) -> Status:
    """The status of the platform of `home`."""
    state = read_json(home.state)
    if state is None or not supervisor_lives(home):
        return Status(str(home.root), None, [], None)
    found = read_json(home.endpoints)
    return Status(str(home.root), state["pid"], state["services"], Endpoints(**found) if found else None)
