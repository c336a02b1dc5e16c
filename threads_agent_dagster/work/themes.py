"""The vectors of all achievements become themes."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from threads_agent_dagster.db import themes as db
from threads_agent_dagster.db.themes import Embedded
from threads_agent_dagster.domain.embeddings import MODEL_ID
from threads_agent_dagster.domain.themes import THEMES_VERSION, Theme, find_themes
from threads_agent_dagster.errors import Unavailable
from threads_agent_dagster.work.drain import Job, Origin
from threads_agent_dagster.work.embeddings import mixture

ASSET = "achievement_themes"
CODE_VERSION = f"{THEMES_VERSION}/{MODEL_ID}"  # history is stale where it differs
KEY = "themes:all"
Found = tuple[Embedded, list[Theme]]


def job(code_version: str = CODE_VERSION) -> Job[Embedded, Found]:
    """How `achievement_themes` is made."""
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, _: load(connection),
        compute=compute,
        store=store,
        stale=db.STALE,
    )


def load(connection: Connection) -> Embedded:
    """All vectors. Raises Unavailable while they are of several models."""
    if wrong := mixture(connection):
        raise Unavailable(wrong)
    return db.read_embedded(connection)


def compute(embedded: Embedded) -> Mapping[str, Found]:
    """The one pending key → the themes, with what they were found on."""
    return {KEY: (embedded, find_themes(embedded.vectors, embedded.titles))}


def store(connection: Connection, results: Mapping[str, Found], origin: Origin) -> set[str]:
    """Stores the themes, numbered from 1, in place of the former ones."""
    for embedded, themes in results.values():
        made_by = {"run_id": origin.run_id, "code_version": origin.code_version}
        rows = [
            {"id": number, "label": theme.label, "words": list(theme.words), **made_by}
            for number, theme in enumerate(themes, 1)
        ]
        members = [
            (embedded.ids[position], number, closeness)
            for number, theme in enumerate(themes, 1)
            for position, closeness in theme.members
        ]
        db.replace_themes(connection, rows, members)
    return set()
