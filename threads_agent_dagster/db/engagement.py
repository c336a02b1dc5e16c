"""Records snapshots of posts' engagement, reads the newest, stores what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The newest counts of a post; `key` is the pending row that asked."""

    key: str
    post_id: int
    persona_id: str
    day: date
    snapshot_id: int
    impressions: int
    engagements: int
    observed_at: datetime


_NEWEST = text("""
    SELECT 'post:' || posts.id, posts.id, posts.persona_id, utc_day(posts.ts), newest.id, newest.impressions,
        newest.engagements, newest.observed_at
    FROM unnest(cast(:ids AS bigint[])) AS asked (id) JOIN posts ON posts.id = asked.id
    JOIN LATERAL (
        SELECT * FROM engagement_snapshots WHERE post_id = posts.id ORDER BY observed_at DESC, id DESC LIMIT 1
    ) AS newest ON true
""")


def read_newest(connection: Connection, keys: Sequence[str]) -> list[Snapshot]:
    """The newest snapshot behind each `post:<id>`; posts that are gone or never measured are missing."""
    ids = [int(key.removeprefix("post:")) for key in keys]
    return [Snapshot(*row) for row in connection.execute(_NEWEST, {"ids": ids})]


_STORE = text("""
    WITH given AS (
        SELECT * FROM unnest(cast(:post_ids AS bigint[]), cast(:personas AS text[]), cast(:days AS date[]),
            cast(:snapshot_ids AS bigint[]), cast(:impressions AS bigint[]), cast(:engagements AS bigint[]),
            cast(:rates AS double precision[]), cast(:observed_at AS timestamptz[]))
        AS given (post_id, persona_id, day, snapshot_id, impressions, engagements, engagement_rate, observed_at)
        ORDER BY post_id
    ), stored AS (
        INSERT INTO post_engagement (post_id, persona_id, day, snapshot_id, impressions, engagements, engagement_rate,
            observed_at, run_id, code_version)
        SELECT given.*, :run_id, :code_version FROM given
        ON CONFLICT (post_id) DO UPDATE SET snapshot_id = excluded.snapshot_id, impressions = excluded.impressions,
            engagements = excluded.engagements, engagement_rate = excluded.engagement_rate,
            observed_at = excluded.observed_at, updated_at = now(), run_id = excluded.run_id,
            code_version = excluded.code_version
        WHERE post_engagement.observed_at <= excluded.observed_at
        RETURNING post_id, engagement_rate
    )
    UPDATE posts SET engagement_rate = stored.engagement_rate FROM stored WHERE posts.id = stored.post_id
""")


def store(
    connection: Connection,
    snapshots: Sequence[Snapshot],
    rates: Sequence[float | None],
    run_id: str | None,
    code_version: str,
) -> None:
    """Stores the counts unless newer ones are there, and copies the rate to the post."""
    parameters = {
        "post_ids": [one.post_id for one in snapshots],
        "personas": [one.persona_id for one in snapshots],
        "days": [one.day for one in snapshots],
        "snapshot_ids": [one.snapshot_id for one in snapshots],
        "impressions": [one.impressions for one in snapshots],
        "engagements": [one.engagements for one in snapshots],
        "rates": list(rates),
        "observed_at": [one.observed_at for one in snapshots],
        "run_id": run_id,
        "code_version": code_version,
    }
    connection.execute(_STORE, parameters)


STALE = """
    SELECT DISTINCT 'post:' || posts.id AS key, utc_day(posts.ts) AS day, post_engagement.code_version
    FROM posts JOIN engagement_snapshots ON engagement_snapshots.post_id = posts.id
    LEFT JOIN post_engagement ON post_engagement.post_id = posts.id
    WHERE posts.ts >= cast(:first AS timestamp) AT TIME ZONE 'UTC'
    AND posts.ts < (cast(:last AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
    AND (:force OR post_engagement.post_id IS NULL OR post_engagement.code_version IS DISTINCT FROM :code_version)"""


@dataclass(frozen=True, slots=True)
class Observed:
    """Totals of a post as they were at `observed_at`; `event_id` names them wherever they are sent again."""

    event_id: str
    impressions: int
    engagements: int
    observed_at: datetime


# In the order of the event ids, so that two batches which overlap wait for each other instead of deadlocking.
_RECORD = text("""
    INSERT INTO engagement_snapshots (event_id, post_id, impressions, engagements, observed_at)
    SELECT event_id, :post_id, impressions, engagements, observed_at
    FROM unnest(cast(:event_ids AS text[]), cast(:impressions AS bigint[]), cast(:engagements AS bigint[]),
        cast(:observed_at AS timestamptz[])) AS observed (event_id, impressions, engagements, observed_at)
    ORDER BY event_id ON CONFLICT (event_id) DO NOTHING RETURNING event_id
""")


def record(connection: Connection, post_id: int, observed: Sequence[Observed]) -> set[str]:
    """Appends what is not there yet; returns its event ids."""
    parameters = {
        "post_id": post_id,
        "event_ids": [one.event_id for one in observed],
        "impressions": [one.impressions for one in observed],
        "engagements": [one.engagements for one in observed],
        "observed_at": [one.observed_at for one in observed],
    }
    return {row.event_id for row in connection.execute(_RECORD, parameters)}


_RECORDED = text(
    "SELECT event_id, post_id, impressions, engagements FROM engagement_snapshots WHERE event_id = ANY(:event_ids)"
)


def recorded(connection: Connection, event_ids: Sequence[str]) -> Mapping[str, tuple[int, int, int]]:
    """Event id → (post, impressions, engagements) of those that are there."""
    rows = connection.execute(_RECORDED, {"event_ids": list(event_ids)})
    return {row.event_id: (row.post_id, row.impressions, row.engagements) for row in rows}
