"""The one folder that holds everything of an installation; nothing is written elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threads_agent_dagster.errors import ConfigurationError


@dataclass(frozen=True)
class Home:
    """Where what lies below `root`."""

    root: Path

    @property
    def key(self) -> str:
        """A short name of this folder, the same in every process that works on it."""
        return hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:16]

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def endpoints(self) -> Path:
        """JSON: the URLs of the running platform; exists from ready to stop."""
        return self.root / "endpoints.json"

    @property
    def state(self) -> Path:
        """JSON: the supervisor and the processes it looks after; exists while it runs."""
        return self.root / "supervisor.json"

    @property
    def lock(self) -> Path:
        return self.root / "up.lock"

    @property
    def api_key(self) -> Path:
        return self.root / "api_key"

    @property
    def webhook_secret(self) -> Path:
        return self.root / "github_webhook_secret"

    def create(self) -> None:
        """Make the folders. Raises ConfigurationError where that is not possible.

        As root, others may pass (not list): the account that runs PostgreSQL lives below.
        """
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(mode)
            for folder in (self.dagster, self.logs, self.backups):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the data cannot be kept in {self.root} ({error.strerror}); set THREADS_AGENT_HOME"
            ) from error

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all at once: a reader sees the old text or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON as `write_private` does."""
    write_private(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None when there is no such file. Raises ConfigurationError for somebody else's."""
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise ConfigurationError(f"you may not read {path}; ask as its owner, or set THREADS_AGENT_HOME") from error
    value: dict[str, Any] = json.loads(text)
    return value


def secret_in(path: Path) -> str:
    """The secret in a file, generated on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    return path.read_text().strip()
