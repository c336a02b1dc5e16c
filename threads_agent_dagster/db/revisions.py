"""Which schema this code needs, told by the names of its migrations: each start asks, and needs no Alembic for it."""

from __future__ import annotations

from pathlib import Path


def known() -> list[str]:
    """Every revision this code knows, oldest first. A revision is named like its file."""
    folder = Path(__file__).parent / "migrations" / "versions"
    return sorted(path.stem for path in folder.glob("[0-9]*.py"))


def head() -> str:
    """The revision this code needs."""
    return known()[-1]
