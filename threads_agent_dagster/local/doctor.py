"""Names every broken thing and its remedy; works with nothing running."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from threads_agent_dagster.clients.dagster import DagsterClient
from threads_agent_dagster.db import migrate, readiness, revisions
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.errors import ConfigurationError, ThreadsAgentError, Unavailable
from threads_agent_dagster.local import dagster_home, schema
from threads_agent_dagster.local.endpoints import SERVICES, read, supervisor_lives
from threads_agent_dagster.local.home import Home
from threads_agent_dagster.local.pgfiles import binaries, server_account, wheel_binaries
from threads_agent_dagster.local.ports import refuse_taken
from threads_agent_dagster.settings import Settings

DISTRIBUTION = "threads-agent-dagster"
LOAD_SECONDS = 120
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `detail` names the remedy when it is not ok."""

    name: str
    ok: bool
    detail: str


Check = Callable[[], str]


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding, as it is made."""
    for name, check in checks(settings).items():
        yield _find(name, check)


def checks(settings: Settings) -> dict[str, Check]:
    """What to look at: always the installation; then the running platform, or whether one could start."""
    home = Home(settings.home)
    found: dict[str, Check] = {
        "python": _python,
        "packages": _packages,
        "home": lambda: _home(home),
        "definitions": _definitions,
    }
    if settings.database_url is None:
        found["postgresql"] = _postgresql
    if supervisor_lives(home):
        return found | _running(home)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        found |= {"database": lambda: _database(url), "migrations": lambda: migrations(url)}
    return found | {"ports": lambda: _ports(settings)}


def _running(home: Home) -> dict[str, Check]:
    return {
        "database": lambda: _database(read(home).database_url),
        "migrations": lambda: migrations(read(home).database_url),
        "code location": lambda: _code_location(read(home).dagster),
        "daemon": lambda: _daemon(read(home).database_url, home.log("daemon")),
    }


def _find(name: str, check: Check) -> Finding:
    try:
        return Finding(name, True, check())
    except (ThreadsAgentError, OSError) as error:
        return Finding(name, False, str(error))


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise ConfigurationError(f"Python {version} is too old; install 3.11 or newer")
    return f"{version} at {sys.executable}"


def _packages() -> str:
    import importlib.metadata as metadata

    wrong = []
    required = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    for requirement in required:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if version not in requirement.specifier:
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        raise ConfigurationError(f"{'; '.join(wrong)}: install {DISTRIBUTION} again")
    return f"{len(required)} requirements met"


def _home(home: Home) -> str:
    folder = next(path for path in (home.root, *home.root.parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{folder} is not a folder that you may write; set THREADS_AGENT_HOME")
    return str(home.root)


def _postgresql() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        account = server_account()
        program = wheel_binaries() / "postgres" if account.uid else binaries(Path(scratch), account) / "postgres"
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigurationError(f"{program} does not run here ({done.stderr.strip()}); set DATABASE_URL to a server")
    return done.stdout.strip()


def _definitions() -> str:
    """Load them in a fresh interpreter: this one must stay light and may have imported them already."""
    code = f"import importlib; importlib.import_module({dagster_home.DEFINITIONS!r}).defs"
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "DAGSTER_DISABLE_TELEMETRY": "yes"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LOAD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"{dagster_home.DEFINITIONS} does not load within {LOAD_SECONDS} s; give the machine time and ask again"
        ) from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ConfigurationError(f"{dagster_home.DEFINITIONS} does not load ({reason[0]}); install the package again")
    return f"{dagster_home.DEFINITIONS} loads"


def _ports(settings: Settings) -> str:
    fields = [f"{service}_port" for service in SERVICES]
    refuse_taken({field: getattr(settings, field) for field in fields}, settings.host)
    return f"free: {', '.join(str(getattr(settings, field)) for field in fields)}"


def _database(url: str) -> str:
    schema.require_answer(url)
    return "answers"


def migrations(url: str) -> str:
    """The revision of up-to-date tables. Raises ConfigurationError for older or newer ones."""
    schema.require_answer(url)
    migrate.refuse_newer(url)
    current, head = migrate.current(url), revisions.head()
    if current != head:
        raise ConfigurationError(
            f"the tables are at {current or 'nothing'}, needed is {head}: threads-agent db upgrade"
        )
    return f"at {head}"


def _code_location(dagster_url: str) -> str:
    errors = DagsterClient(dagster_url).load_errors()
    if errors:
        raise ConfigurationError(f"{'; '.join(errors.values())}; then reload it in Dagster's UI")
    return "loaded"


def _daemon(database_url: str, log: Path) -> str:
    schema.require_answer(database_url)
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            age = readiness.heartbeat_age(connection)
    finally:
        engine.dispose()
    if age is None or age > readiness.HEARTBEAT_SECONDS:
        since = "ever came" if age is None else f"came for {age:.0f} s"
        raise Unavailable(
            f"no heartbeat of Dagster's daemon {since}; see {log}, or end the platform and start it again"
        )
    return f"its last heartbeat came {age:.0f} s ago"
