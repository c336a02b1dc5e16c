"""Achievements become vectors, all of one model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping

from threads_agent_dagster.db import embeddings as db
from threads_agent_dagster.db.embeddings import AchievementText
from threads_agent_dagster.domain.embeddings import DIMENSIONS, MODEL_ID, embed
from threads_agent_dagster.errors import Conflict
from threads_agent_dagster.work.drain import Job, Origin

ASSET = "achievement_embeddings"
CODE_VERSION = f"1/{MODEL_ID}"  # raise it when the same input gives other vectors: history is then stale
BATCH_SIZE = 100  # a second of work: a run can end in time, and shows that it moves
READ_CHARACTERS: Final = 1_500  # of the description; more does not fit the model's window
DECIMALS: Final = 5  # the column holds three to four
REMEDY: Final = "materialise the asset achievement_embeddings, which makes those of other models anew"


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector with the text that it was made from."""

    text: AchievementText
    content_hash: str
    vector: list[float]


@dataclass(frozen=True, slots=True)
class Similar:
    """The achievements nearest to one, and the model whose vectors say so."""

    model: str
    rows: Sequence[RowMapping]


def job(code_version: str = CODE_VERSION) -> Job[list[AchievementText], Embedded]:
    """How `achievement_embeddings` is made."""
    return Job(
        asset=ASSET,
        code_version=code_version,
        load=lambda connection, rows: db.read_texts(connection, [row.key for row in rows]),
        compute=compute,
        store=store,
        stale=db.STALE,
        batch_size=BATCH_SIZE,
    )


def full_text(title: str, description: str) -> str:
    """What the model reads of an achievement."""
    return f"{title}\n{description[:READ_CHARACTERS]}".strip()


def compute(texts: Sequence[AchievementText]) -> Mapping[str, Embedded]:
    """Pending key → vector; equal texts are read once."""
    contents = [full_text(one.title, one.description) for one in texts]
    distinct = list(dict.fromkeys(contents))
    vectors = dict(zip(distinct, embed(distinct), strict=True))
    return {
        one.key: Embedded(
            one,
            hashlib.sha256(content.encode()).hexdigest(),
            [round(float(number), DECIMALS) for number in vectors[content]],
        )
        for one, content in zip(texts, contents, strict=True)
    }


def store(connection: Connection, results: Mapping[str, Embedded], origin: Origin) -> set[str]:
    """Stores the vectors of texts that are still as they were read; returns the keys of the others."""
    now = db.lock_texts(connection, [one.text.achievement_id for one in results.values()])
    unchanged = {
        key: one
        for key, one in results.items()
        if now.get(one.text.achievement_id) == (one.text.title, one.text.description)
    }
    db.store_vectors(connection, [_row(one, origin) for one in unchanged.values()])
    return set(results) - set(unchanged)


def _row(one: Embedded, origin: Origin) -> dict[str, Any]:
    return {
        "achievement_id": one.text.achievement_id,
        "model": MODEL_ID,
        "dimensions": DIMENSIONS,
        "content_hash": one.content_hash,
        "embedding": one.vector,
        "run_id": origin.run_id,
        "code_version": origin.code_version,
    }


def mixture(connection: Connection) -> str | None:
    """What is wrong and how to right it, where vectors of several models lie together; None otherwise."""
    models = db.models(connection)
    if len(models) < 2:
        return None
    return (
        f"vectors of several models lie together ({', '.join(sorted(models))}), which mean nothing together; {REMEDY}"
    )


def similar(connection: Connection, achievement_id: int, *, at_least: float, limit: int) -> Similar | None:
    """What is like an achievement; None until it has its vector.

    Raises Conflict where vectors of several models lie together.
    """
    if wrong := mixture(connection):
        raise Conflict(wrong)
    found = db.vector_of(connection, achievement_id)
    if found is None:
        return None
    rows = db.nearest(connection, achievement_id, found.embedding, at_least=at_least, limit=limit)
    return Similar(found.model, rows)
