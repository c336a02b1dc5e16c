"""Reads the evidence that waits for a score, stores scored achievements; lists them, and stores what people write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Text,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    not_,
    select,
    text,
    true,
    update,
)

from threads_agent_dagster.db.bulk import insert_rows, parameter, replaced
from threads_agent_dagster.db.pages import Order, Window, read
from threads_agent_dagster.db.pending import REMARK
from threads_agent_dagster.db.tables import ACHIEVEMENT_WORDS, achievement_theme_members, achievements
from threads_agent_dagster.domain.changes import Change


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that tell of a change, at most one of each kind."""

    inbox_id: int | None = None
    push_id: int | None = None
    commit_id: int | None = None
    pull_request_id: int | None = None

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of which there is a row."""
        return frozenset(name for name in self.__slots__ if getattr(self, name) is not None)

    def holds(self, others: Rows) -> bool:
        """Whether each of the other rows is one of these."""
        return all(getattr(self, name) == getattr(others, name) for name in others.kinds)

    def or_else(self, others: Rows) -> Rows:
        """These, and of the other rows those of a kind that is missing here."""
        return Rows(*(getattr(self if name in self.kinds else others, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an achievement is made from: a delivery, a delivered push, an imported commit, a pull request that was read,
    any of them together, or else what a person wrote down.

    `key` is the pending row that asked; `source_key` and `merge_sha` are those of the achievement, if it was one.
    """

    key: str
    rows: Rows
    event: str | None
    body: bytes | None
    received_at: datetime | None
    push: bytes | None
    pushed_at: datetime | None
    commit: Mapping[str, Any] | None
    pull: Mapping[str, Any] | None
    import_id: int | None
    written: Mapping[str, Any] | None
    source_key: str | None
    merge_sha: str | None

    def is_told_by(self, change: Change) -> bool:
        """Whether the change is the one of the achievement that asked."""
        if change.merge_sha is None or self.merge_sha is None:
            return change.source_key == self.source_key
        return change.merge_sha == self.merge_sha


_EVIDENCE = text("""
    SELECT asked.key, inbox.id AS inbox_id, pushes.id AS push_id, git_commits.id AS commit_id,
        pull_requests.id AS pull_request_id, inbox.event, nullif(inbox.body, '') AS body, inbox.received_at,
        nullif(pushes.body, '') AS push,
        pushes.received_at AS pushed_at, git_commits.change AS commit, pull_requests.change AS pull,
        coalesce(pull_requests.import_id, git_commits.import_id, known.import_id) AS import_id,
        CASE WHEN num_nonnulls(inbox.id, pushes.id, git_commits.id, pull_requests.id) = 0 THEN to_jsonb(known) END
            AS written,
        known.source_key, known.merge_sha
    FROM (
        SELECT key, CASE WHEN event <> 'push' THEN id END AS inbox_id, CASE WHEN event = 'push' THEN id END AS push_id,
            NULL::bigint AS commit_id, NULL::bigint AS pull_request_id, NULL::bigint AS achievement_id
        FROM unnest(cast(:keys AS text[])) AS key JOIN inbox ON key = 'inbox:' || id
        UNION ALL
        SELECT key, NULL, NULL, substr(key, 8)::bigint, NULL, NULL
        FROM unnest(cast(:keys AS text[])) AS key WHERE key LIKE 'commit:%'
        UNION ALL
        SELECT key, NULL, NULL, NULL, substr(key, 6)::bigint, NULL
        FROM unnest(cast(:keys AS text[])) AS key WHERE key LIKE 'pull:%'
        UNION ALL
        SELECT key, inbox_id, push_id, commit_id, pull_request_id, id
        FROM unnest(cast(:keys AS text[])) AS key JOIN achievements ON key = 'achievement:' || id
        UNION ALL
        SELECT key, inbox_id, push_id, commit_id, pull_request_id, achievements.id
        FROM unnest(cast(:keys AS text[])) AS key JOIN tasks ON key = 'task:' || tasks.id
        JOIN achievements ON achievements.id = (tasks.payload ->> 'achievement_id')::bigint
    ) AS asked
    LEFT JOIN inbox ON inbox.id = asked.inbox_id
    LEFT JOIN inbox AS pushes ON pushes.id = asked.push_id
    LEFT JOIN git_commits ON git_commits.id = asked.commit_id
    LEFT JOIN pull_requests ON pull_requests.id = asked.pull_request_id
    LEFT JOIN achievements AS known ON known.id = asked.achievement_id
""")


def read_evidence(connection: Connection, keys: Sequence[str]) -> list[Evidence]:
    """What is behind `inbox:`, `commit:`, `pull:`, `achievement:` and `task:<id>`; what is gone has no evidence."""
    found = map(_evidence, connection.execute(_EVIDENCE, {"keys": list(keys)}).mappings())
    return [one for one in found if one.rows.kinds or one.written is not None]


def _evidence(row: RowMapping) -> Evidence:
    rows = Rows(**{name: row[name] for name in Rows.__slots__})
    return Evidence(rows=rows, **{name: row[name] for name in Evidence.__slots__ if name != "rows"})


@dataclass(frozen=True, slots=True)
class Known:
    """An achievement that is there already; `edited` says that a person changed it."""

    id: int
    source_key: str
    merge_sha: str | None
    rows: Rows
    edited: bool


_KNOWN_COLUMNS = f"id, source_key, merge_sha, {', '.join(Rows.__slots__)}, edited_at IS NOT NULL AS edited"
_KNOWN = text(f"""
    SELECT {_KNOWN_COLUMNS} FROM achievements
    WHERE source_key = ANY(:keys) OR merge_sha = ANY(:shas) ORDER BY id FOR UPDATE
""")


def _known(row: Row[Any]) -> Known:
    rows = Rows(*(getattr(row, name) for name in Rows.__slots__))
    return Known(row.id, row.source_key, row.merge_sha, rows, row.edited)


def lock_known(connection: Connection, source_keys: Iterable[str], merge_shas: Iterable[str]) -> list[Known]:
    """The achievements under any of the source keys or merge SHAs, held until the transaction ends."""
    rows = connection.execute(_KNOWN, {"keys": list(source_keys), "shas": list(merge_shas)})
    return [_known(row) for row in rows]


# What people may set and work writes too. One's time beside a later derived one might end before it began, so both
# times stay where either was set.
_TIMES: Final = ("started_at", "completed_at")
EDITABLE: Final = ("title", "category", "description", "source_url", *_TIMES)
# What people set that nothing derives, and what of all belongs together.
_PUBLISHED: Final = ("linkedin_post_id", "linkedin_published_at")
_TOGETHER: Final = (
    *((name,) for name in EDITABLE if name not in _TIMES), _TIMES, _PUBLISHED, ("portfolio_section",),
    ("display_priority",),
)  # fmt: skip
DEFAULT_PRIORITY: Final = 50


_BOTH = text("SELECT * FROM achievements WHERE id = ANY(:ids)")
_ONE_KNOWN = text(f"SELECT {_KNOWN_COLUMNS} FROM achievements WHERE id = :id")


def unite(connection: Connection, one: Known, other: Known) -> Known:
    """Makes one achievement of two that are of one change: of the one that a person edited, else of the first."""
    kept, lost = sorted((one, other), key=lambda known: (not known.edited, known.id))
    rows = {row["id"]: dict(row) for row in connection.execute(_BOTH, {"ids": [kept.id, lost.id]}).mappings()}
    connection.execute(delete(achievements).where(achievements.c.id == lost.id))
    edit(connection, kept.id, _joined(rows[kept.id], rows[lost.id]) | asdict(kept.rows.or_else(lost.rows)))
    return _known(connection.execute(_ONE_KNOWN, {"id": kept.id}).one())


def _joined(kept: Mapping[str, Any], lost: Mapping[str, Any]) -> dict[str, Any]:
    """What people wrote on two achievements, as one: of two words for the same, those of the later edit.

    The others stay in `metadata_json` under `set_aside`. It is deleted only if both were.
    """
    newer, older = (lost, kept) if _edited_at(lost) > _edited_at(kept) else (kept, lost)
    joined: dict[str, Any] = {
        "portfolio_ready": kept["portfolio_ready"] or lost["portfolio_ready"],
        "deleted_at": lost["deleted_at"] and kept["deleted_at"],
        "edited_fields": sorted({*kept["edited_fields"], *lost["edited_fields"]}),
        "edited_at": newer["edited_at"],
        "edited_by": newer["edited_by"],
    }
    aside = [entry for row in (kept, lost) for entry in row["metadata_json"].get("set_aside", [])]
    for names in _TOGETHER:
        writers = [row for row in (newer, older) if _wrote(row, names)]
        joined |= {name: row[name] for row in writers[:1] for name in names}
        aside += [_aside(row, name) for row in writers[1:] for name in names if row[name] != joined[name]]
    return joined | {"metadata_json": {**kept["metadata_json"], **({"set_aside": aside} if aside else {})}}


def _edited_at(row: Mapping[str, Any]) -> datetime:
    return row["edited_at"] or datetime.min.replace(tzinfo=UTC)


def _wrote(row: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether a person set any of the columns, as far as the row tells."""
    derived = row["edited_fields"]
    return any(name in derived if name in EDITABLE else row[name] not in (None, DEFAULT_PRIORITY) for name in names)


def _aside(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    value, at = row[name], row["edited_at"]
    return {
        "field": name,
        "value": value.isoformat() if isinstance(value, datetime) else value,
        "edited_by": row["edited_by"],
        "edited_at": at and at.isoformat(),
    }


_RENAME = (
    update(achievements)
    .where(achievements.c.id == bindparam("known_id"), achievements.c.source_key != bindparam("to"))
    .values(source_key=bindparam("to"))
)


def rename(connection: Connection, source_keys: Mapping[int, str]) -> None:
    """Gives achievements (by id) the key of the source that describes them now."""
    if source_keys:
        rows = [{"known_id": id_, "to": key} for id_, key in sorted(source_keys.items())]
        connection.execute(_RENAME, rows)


_KEPT = (*Rows.__slots__, "import_id")
_WRITTEN_BY_WORK = (
    "source_key", "source_type", "source_id", "source_url", "repository", "merge_sha", "title", "description",
    "category", "started_at", "completed_at", "impact_score", "complexity_score", "impact_rules", "complexity_rules",
    "business_value", "time_saved_hours", "performance_improvement_pct", "skills", "author_name", "author_email",
    "author_login", "metadata_json", "scorer_version", "run_id", "code_version", *_KEPT,
)  # fmt: skip


def _on_conflict() -> str:
    edited = (
        f"{name} = CASE WHEN achievements.edited_fields && ARRAY{list(_TIMES if name in _TIMES else [name])} "
        f"THEN achievements.{name} ELSE excluded.{name} END"
        for name in EDITABLE
    )
    kept = (f"{name} = coalesce(excluded.{name}, achievements.{name})" for name in _KEPT)
    others = replaced([name for name in _WRITTEN_BY_WORK if name not in (*EDITABLE, *_KEPT, "metadata_json")])
    aside = "achievements.metadata_json -> 'set_aside'"
    told_now = f"""metadata_json = excluded.metadata_json
        || CASE WHEN {aside} IS NULL THEN '{{}}' ELSE jsonb_build_object('set_aside', {aside}) END"""
    update = f"ON CONFLICT (source_key) DO UPDATE SET {others}, {told_now}, {', '.join(edited)}, {', '.join(kept)}"
    # Deliveries come in any order: what the same source told of an earlier moment does not undo a later one.
    # (`completed_at` itself may be a person's.)
    told = "({}.metadata_json ->> 'told_at')::timestamptz"
    older = f"{told.format('excluded')} < {told.format('achievements')}"
    return f"{update} WHERE achievements.source_type <> excluded.source_type OR ({older}) IS NOT TRUE"


_STORE = insert_rows("achievements", _WRITTEN_BY_WORK, _on_conflict())


def store_achievements(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds or re-scores achievements by source key; what a person edited stays as it is."""
    connection.execute(_STORE, parameter(rows))


_MEASURED = text("""
    SELECT source_key, source_type::text, merge_sha, metadata_json -> 'derived' ->> 'category' AS category,
        impact_score, complexity_score, time_saved_hours, performance_improvement_pct,
        jsonb_array_length(skills) AS skills
    FROM achievements WHERE source_key = ANY(:keys) OR merge_sha = ANY(:shas)
""")


def read_measured(
    connection: Connection, source_keys: Iterable[str], merge_shas: Iterable[str]
) -> list[dict[str, Any]]:
    """The derived figures of the achievements under any of the source keys or merge SHAs; what people edited aside."""
    found = connection.execute(_MEASURED, {"keys": list(source_keys), "shas": list(merge_shas)})
    return [dict(row) for row in found.mappings()]


_AGAIN = text(f"""
    INSERT INTO pending (asset, key, day)
    SELECT 'achievements', 'achievement:' || id, utc_day(coalesce(completed_at, created_at)) FROM achievements
    WHERE id = ANY(:ids) OR source_key = ANY(:keys) ORDER BY 2 {REMARK}
""")


def mark_again(connection: Connection, ids: Iterable[int], source_keys: Iterable[str]) -> None:
    """Marks achievements that several rows tell of, to be scored on what they tell together."""
    connection.execute(_AGAIN, {"ids": list(ids), "keys": list(source_keys)})


_LINK = text(f"""
    UPDATE achievements SET {", ".join(f"{name} = coalesce(:{name}, {name})" for name in Rows.__slots__)},
        import_id = coalesce(import_id, :import_id)
    WHERE id = :id
""").bindparams(*(bindparam(name, type_=BigInteger) for name in ("import_id", *Rows.__slots__)))


def link(connection: Connection, rows: Mapping[int, tuple[Rows, int | None]]) -> None:
    """Notes rows (achievement id → rows and import id) that tell of achievements which are there already."""
    if rows:
        values = [
            {"id": id_, "import_id": import_id, **asdict(told)} for id_, (told, import_id) in sorted(rows.items())
        ]
        connection.execute(_LINK, values)


_INBOX = text("""
    UPDATE inbox SET status = outcome.status, reason = outcome.reason
    FROM unnest(cast(:ids AS bigint[]), cast(:statuses AS text[]), cast(:reasons AS text[]))
    AS outcome (id, status, reason) WHERE inbox.id = outcome.id
""")


def settle_inbox(connection: Connection, outcomes: Mapping[int, tuple[str, str | None]]) -> None:
    """Stores what became of deliveries: id → (processed, ignored or failed; reason)."""
    if outcomes:
        statuses, reasons = zip(*outcomes.values(), strict=True)
        parameters = {"ids": list(outcomes), "statuses": list(statuses), "reasons": list(reasons)}
        connection.execute(_INBOX, parameters)


STALE = """
    SELECT 'achievement:' || id AS key, utc_day(completed_at) AS day, code_version FROM achievements
    WHERE utc_day(completed_at) BETWEEN :first AND :last AND deleted_at IS NULL
    AND (:force OR code_version IS DISTINCT FROM :code_version)
    UNION ALL
    SELECT 'inbox:' || id, day, NULL FROM inbox WHERE day BETWEEN :first AND :last AND status = 'received'
    UNION ALL
    SELECT 'commit:' || git_commits.id, day, NULL FROM git_commits
    WHERE day BETWEEN :first AND :last AND NOT EXISTS (
        SELECT FROM achievements WHERE achievements.commit_id = git_commits.id
        OR achievements.merge_sha = git_commits.sha
    )
    UNION ALL
    SELECT 'pull:' || pull_requests.id, day, NULL FROM pull_requests
    WHERE day BETWEEN :first AND :last AND change IS NOT NULL AND NOT EXISTS (
        SELECT FROM achievements WHERE achievements.pull_request_id = pull_requests.id
    )"""


# What the API lists and what people write.


@dataclass(frozen=True, slots=True)
class Filter:
    """What a listed achievement must meet; None asks for nothing. `since` and `until` are closed UTC dates."""

    category: str | None = None
    source_type: str | None = None
    since: date | None = None
    until: date | None = None
    min_score: float | None = None
    max_score: float | None = None
    portfolio_ready: bool | None = None
    text: str | None = None
    theme: int | None = None


_WORDS: Final = literal_column(f"({ACHIEVEMENT_WORDS})", Text)


def holds_words(searched: str) -> ColumnElement[bool]:
    """Whether title, description, repository and author hold each of the words, in part and in any case.

    idx_achievements_search finds words of three characters and more.
    """
    return and_(true(), *(_WORDS.icontains(word, autoescape=True) for word in searched.split()))


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    column = achievements.c
    yield column.deleted_at.is_(None)
    if wanted.category is not None:
        yield column.category == wanted.category
    if wanted.source_type is not None:
        yield column.source_type == wanted.source_type
    if wanted.since is not None:
        yield column.completed_at >= datetime.combine(wanted.since, time.min, UTC)
    if wanted.until is not None:
        yield column.completed_at < datetime.combine(wanted.until, time.min, UTC) + timedelta(days=1)
    if wanted.min_score is not None:
        yield column.impact_score >= wanted.min_score
    if wanted.max_score is not None:
        yield column.impact_score <= wanted.max_score
    if wanted.portfolio_ready is not None:
        yield column.portfolio_ready == wanted.portfolio_ready
    if wanted.text is not None:
        yield holds_words(wanted.text)
    if wanted.theme is not None:
        members = achievement_theme_members.c
        yield column.id.in_(select(members.achievement_id).where(members.theme_id == wanted.theme))


# What lists show; the texts and documents of a row, its rules above all, would weigh ten times as much.
LISTED: Final = tuple(
    achievements.c[name]
    for name in (
        "id", "title", "category", "source_type", "source_url", "repository", "author_name", "started_at",
        "completed_at", "duration_hours", "impact_score", "complexity_score", "time_saved_hours",
        "performance_improvement_pct", "portfolio_ready", "portfolio_section", "display_priority", "created_at",
    )
)  # fmt: skip


def search(connection: Connection, wanted: Filter, order: Order, window: Window) -> Sequence[RowMapping]:
    """A page of the achievements that are not deleted, with the columns that lists show."""
    return read(connection, select(*LISTED).where(*_conditions(wanted)), order, window)


# xmin names the transaction that wrote the row: it differs after every change, whoever made it.
_ROW = select(achievements, text("achievements.xmin::text AS version"))


def find(
    connection: Connection, achievement_id: int, *, deleted: bool = False, lock: bool = False
) -> RowMapping | None:
    """All columns and the row's `version`; with `lock`, held until the transaction ends."""
    gone = achievements.c.deleted_at.is_not(None)
    row = _ROW.where(achievements.c.id == achievement_id, gone if deleted else not_(gone))
    return connection.execute(row.with_for_update() if lock else row).mappings().one_or_none()


def insert_written(connection: Connection, values: Mapping[str, Any]) -> int:
    """Adds what a person wrote down; returns its id."""
    return int(connection.execute(insert(achievements).values(values).returning(achievements.c.id)).scalar_one())


def edit(connection: Connection, achievement_id: int, values: Mapping[str, Any]) -> None:
    """Stores what a person changed."""
    connection.execute(update(achievements).where(achievements.c.id == achievement_id).values(values))
