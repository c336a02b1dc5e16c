"""Twelve secrets that a platform under fire is given, and where they must not come out."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx
import psycopg

from threads_agent_dagster.db.engine import sqlalchemy_url
from threads_agent_dagster.local.endpoints import Endpoints
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.pgfiles import wheel_binaries
from threads_agent_dagster.local.ports import free_ports
from threads_agent_dagster.local.schema import libpq

GIVEN = ("GITHUB_WEBHOOK_SECRET", "GITHUB_TOKEN", "JWT_SECRET", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD")
PATHS = ("/", "/metrics", "/openapi.json", "/docs", "/health", "/readyz", "/nowhere", "/tasks/0")


@dataclass
class Canaries:
    """`stored` ones are people's data: they belong in the tables, and in nothing that is written for operators."""

    secrets: dict[str, str] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*GIVEN, "a wrong key", "a key in an address", "a cookie", "the address of alerts"):
            self.secrets[name] = f"canary{secrets.token_hex(12)}"
        self.stored["a task's text"] = f"canary{secrets.token_hex(12)}"

    @property
    def environment(self) -> dict[str, str]:
        [closed] = free_ports(1)
        address = f"http://127.0.0.1:{closed}/{self.secrets['the address of alerts']}"
        return {name: self.secrets[name] for name in GIVEN} | {"THREADS_AGENT_ALERT_WEBHOOK_URL": address}

    def learn(self, home: Home, endpoints: Endpoints) -> None:
        """The two that the platform made itself."""
        self.secrets["the key of the API"] = home.api_key.read_text().strip()
        self.secrets["the password of the database"] = unquote(str(sqlalchemy_url(endpoints.database_url).password))

    def show(self, endpoints: Endpoints) -> None:
        """What callers send by mistake or in malice, and what a user asks to be done."""
        headers = {"Authorization": f"Bearer {self.secrets['a wrong key']}"}
        cookie = {"Cookie": f"session={self.secrets['a cookie']}"}
        right = {"Authorization": f"Bearer {self.secrets['the key of the API']}"}
        body = {"type": "content.generation", "payload": {"topic": self.stored["a task's text"]}}
        for url in (endpoints.orchestrator, endpoints.achievements, endpoints.prompts):
            httpx.get(f"{url}/tasks/1", headers=headers | cookie, timeout=20)
            httpx.get(f"{url}/tasks/1", params={"api_key": self.secrets["a key in an address"]}, timeout=20)
        httpx.post(f"{endpoints.orchestrator}/task", headers=right, json=body, timeout=20).raise_for_status()
        httpx.post(f"{endpoints.orchestrator}/task", headers=right, content=json.dumps(body) + "}", timeout=20)

    def hits(self, home: Home, endpoints: Endpoints) -> list[str]:
        """`name in place` for each secret that came out; asked at the end."""
        everything = self.secrets | self.stored
        found = {f"{name} in {place}" for place, text in _written(home) for name in _in(text, everything)}
        found |= {f"{name} in {place}" for place, text in _dagster(endpoints) for name in _in(text, everything)}
        found |= {f"{name} in the dump" for name in _in(_dump(endpoints), self.secrets)}
        found |= {f"{name} in {place}" for place, text in _answers(endpoints) for name in _in(text, everything)}
        return sorted(found)


def _in(text: str, wanted: dict[str, str]) -> list[str]:
    return [name for name, value in wanted.items() if value in text]


def _written(home: Home) -> Iterator[tuple[str, str]]:
    """Every log: of the processes, of PostgreSQL, and what runs wrote to their standard output."""
    for path in home.root.rglob("*"):
        if path.is_file() and (path.suffix in (".log", ".out", ".err", ".1") or "storage" in path.parts):
            yield str(path.relative_to(home.root)), path.read_text(errors="replace")


def _dagster(endpoints: Endpoints) -> Iterator[tuple[str, str]]:
    """Runs with their configuration and tags, events, ticks: all that Dagster remembers."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'dagster'"
    with psycopg.connect(endpoints.database_url) as connection:
        for (name,) in connection.execute(tables).fetchall():
            with connection.cursor(name="reading") as rows:
                rows.execute(f"SELECT t::text FROM dagster.{name} AS t".encode())
                while some := rows.fetchmany(1000):
                    yield f"dagster.{name}", "\n".join(text for (text,) in some)


def _dump(endpoints: Endpoints) -> str:
    command = [wheel_binaries() / "pg_dump", "--inserts"]
    done = subprocess.run(
        command, env={"PATH": "/usr/bin"} | libpq(endpoints.database_url), capture_output=True, check=True
    )
    return done.stdout.decode(errors="replace")


def _answers(endpoints: Endpoints) -> Iterator[tuple[str, str]]:
    """What anybody may read, and errors."""
    apis = (endpoints.orchestrator, endpoints.achievements, endpoints.prompts, endpoints.dash)
    for url in (f"{base}{path}" for base in apis for path in PATHS):
        answer = httpx.get(url, timeout=30)
        yield re.sub(r":\d+", "", url), f"{answer.headers}\n{answer.text}"
