"""The queue: one row for each thing that is not done yet, and the fence around those who work on it.

A row's `change` is a token of the sequence `pending_change`: the input moved. Its `claim` is a token of the same
sequence: somebody works on it. Results are stored only by the holder of the claim, and a row leaves the queue only if
its `change` is still the one that was claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum

from sqlalchemy import Connection, text

MAX_ATTEMPTS = 5
CHANNEL = "pending"  # what a trigger notifies when rows are marked


class Priority(IntEnum):
    """Smaller goes first; a level is worth a million later arrivals, so that nothing starves."""

    HIGH = 0
    MEDIUM = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Days:
    """A closed range of UTC dates."""

    start: date
    end: date


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that is ours to work on until its lease ends."""

    key: str
    day: date
    change: int
    attempts: int
    priority: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows claimed together, under one token."""

    asset: str
    token: int
    rows: Sequence[Claimed]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Claimable rows of one asset and day whose keys begin with `kind:`; `newest` is the largest change among them."""

    asset: str
    day: date
    rows: int
    newest: int
    kind: str


REMARK = """ON CONFLICT (asset, key) DO UPDATE SET
    change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
    attempts = 0, not_before = NULL, error = NULL, dead_at = NULL"""

_MARK = text(
    "INSERT INTO pending (asset, key, day, priority) "
    "SELECT :asset, key, day, :priority FROM unnest(cast(:keys AS text[]), cast(:days AS date[])) AS marked (key, day) "
    f"ORDER BY key {REMARK}"
)


def mark(
    connection: Connection,
    asset: str,
    items: Iterable[tuple[str, date]],
    priority: int = Priority.MEDIUM,
) -> None:
    """Says that each (key, day) of `asset` is to be made anew; belongs in the transaction that causes the work."""
    keys_and_days = dict(items)
    if keys_and_days:
        connection.execute(
            _MARK,
            {
                "asset": asset,
                "keys": list(keys_and_days),
                "days": list(keys_and_days.values()),
                "priority": int(priority),
            },
        )


_DEFER = text(f"SET LOCAL threads_agent.priority = '{int(Priority.LOW)}'")


def defer(connection: Connection) -> None:
    """What the triggers mark in the rest of this transaction waits behind what others ask for."""
    connection.execute(_DEFER)


# A backfill that is being worked on has its rows to itself; when its worker is gone they are everyone's.
UNLED = """NOT EXISTS (SELECT FROM backfills WHERE backfills.id = pending.backfill AND backfills.asset = pending.asset
        AND backfills.lease_until > clock_timestamp())"""

_CLAIMABLE = f"""asset = :asset AND dead_at IS NULL AND (lease_until IS NULL OR lease_until < clock_timestamp())
    AND (not_before IS NULL OR not_before < clock_timestamp())
    AND (cast(:first AS date) IS NULL OR day BETWEEN :first AND :last)
    AND (backfill IS NULL OR backfill = cast(:backfill AS text) OR {UNLED})"""

_CLAIM = """
WITH token AS MATERIALIZED (
    SELECT nextval('pending_change') AS token
), chosen AS MATERIALIZED (
    SELECT asset, key FROM pending WHERE {claimable} AND {attempts}
    ORDER BY change + priority * 1000000 LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE pending SET claim = token.token, attempts = pending.attempts + 1, holder = :holder,
    lease_until = clock_timestamp() + make_interval(secs => :lease)
FROM chosen, token WHERE pending.asset = chosen.asset AND pending.key = chosen.key
RETURNING token.token, pending.key, pending.day, pending.change, pending.attempts, pending.priority
"""
_CLAIM_FRESH = text(_CLAIM.format(claimable=_CLAIMABLE, attempts="attempts = 0"))
_CLAIM_AGAIN = text(_CLAIM.format(claimable=_CLAIMABLE, attempts="attempts BETWEEN 1 AND :most - 1"))


def claim(
    connection: Connection,
    asset: str,
    days: Days | None,
    *,
    limit: int,
    lease_seconds: float,
    again: bool,
    backfill: str | None = None,
    holder: int | None = None,
) -> Batch | None:
    """Up to `limit` rows that are free, by priority and age; with `again`, one row that was tried before.

    A row that may be poison is claimed alone, so that it cannot take others with it. Rows of a backfill that is being
    worked on are free for `backfill` alone. None when nothing is claimable.
    Without a holder (see `new_holder`) only the end of the lease frees the rows of a worker that died.
    """
    parameters = {
        "asset": asset,
        "first": days.start if days else None,
        "last": days.end if days else None,
        "limit": 1 if again else limit,
        "lease": lease_seconds,
        "backfill": backfill,
        "holder": holder,
    }
    if again:
        parameters["most"] = MAX_ATTEMPTS
    found = connection.execute(_CLAIM_AGAIN if again else _CLAIM_FRESH, parameters).all()
    if not found:
        return None
    rows = [Claimed(row.key, row.day, row.change, row.attempts, row.priority) for row in found]
    return Batch(asset, found[0].token, rows)


_HOLDERS = 7_202_600  # first half of the advisory locks that say which holders live
_NEW_HOLDER = text("SELECT nextval('pending_change') % 2147483647")
_VOUCH = text("SELECT pg_try_advisory_lock(:holders, :holder)")
_RELEASE_ORPHANS = text("""
    WITH alive AS MATERIALIZED (
        SELECT objid::bigint AS holder FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
        WHERE locktype = 'advisory' AND objsubid = 2 AND classid = :holders AND granted AND datname = current_database()
    ), orphans AS MATERIALIZED (
        SELECT asset, key FROM pending WHERE claim IS NOT NULL AND holder IS NOT NULL AND dead_at IS NULL
        AND NOT EXISTS (SELECT FROM alive WHERE alive.holder = pending.holder) FOR UPDATE SKIP LOCKED
    )
    UPDATE pending SET claim = NULL, lease_until = NULL FROM orphans
    WHERE pending.asset = orphans.asset AND pending.key = orphans.key
""")


def new_holder(connection: Connection) -> int:
    """A name for somebody who is about to claim rows."""
    return int(connection.execute(_NEW_HOLDER).scalar_one())


def vouch(session: Connection, holder: int) -> None:
    """Says that the holder lives for as long as this session does; PostgreSQL sees it end when its process dies."""
    session.execute(_VOUCH, {"holders": _HOLDERS, "holder": holder})


def release_orphans(connection: Connection) -> int:
    """Frees at once what dead holders had claimed, without waiting for the leases; returns how many rows."""
    return connection.execute(_RELEASE_ORPHANS, {"holders": _HOLDERS}).rowcount


_BURY = text(
    "UPDATE pending SET dead_at = clock_timestamp(), lease_until = NULL, claim = NULL, "
    "error = coalesce(error, 'the worker died or lost its lease ' || attempts || ' times') "
    "WHERE asset = :asset AND dead_at IS NULL AND attempts >= :most "
    "AND (lease_until IS NULL OR lease_until < clock_timestamp()) "
    "AND (not_before IS NULL OR not_before < clock_timestamp()) RETURNING key, error"
)


def bury_exhausted(connection: Connection, asset: str) -> Mapping[str, str]:
    """Key → error of the rows that were tried too often; they stay dead until `redrive`."""
    buried = connection.execute(_BURY, {"asset": asset, "most": MAX_ATTEMPTS})
    return {row.key: row.error for row in buried}


_HEARTBEAT = text(
    "UPDATE pending SET lease_until = clock_timestamp() + make_interval(secs => :lease) "
    "WHERE asset = :asset AND claim = :token"
)


def extend(connection: Connection, asset: str, token: int, lease_seconds: float) -> int:
    """Renews the lease; returns how many rows are still ours."""
    return connection.execute(_HEARTBEAT, {"asset": asset, "token": token, "lease": lease_seconds}).rowcount


_FENCE = text(
    "SELECT key, change FROM pending WHERE asset = :asset AND claim = :token AND key = ANY(:keys) "
    "ORDER BY key FOR UPDATE"
)


def fence(connection: Connection, batch: Batch, keys: Sequence[str]) -> set[str]:
    """The keys that are still ours, locked until the transaction ends; what others took over is missing."""
    rows = connection.execute(_FENCE, {"asset": batch.asset, "token": batch.token, "keys": list(keys)})
    return {row.key for row in rows}


_FINISH = text(
    "DELETE FROM pending USING unnest(cast(:keys AS text[]), cast(:changes AS bigint[])) AS done (key, change) "
    "WHERE pending.asset = :asset AND pending.claim = :token "
    "AND pending.key = done.key AND pending.change = done.change"
)
_RELEASE = text(
    "UPDATE pending SET claim = NULL, lease_until = NULL, attempts = 0, error = NULL "
    "WHERE asset = :asset AND claim = :token AND key = ANY(:keys)"
)


def finish(connection: Connection, batch: Batch, keys: Iterable[str]) -> None:
    """Takes the rows off the queue; those whose input moved meanwhile are released to be done again."""
    done = set(keys)
    rows = [row for row in batch.rows if row.key in done]
    parameters = {"asset": batch.asset, "token": batch.token, "keys": [row.key for row in rows]}
    connection.execute(_FINISH, parameters | {"changes": [row.change for row in rows]})
    release(connection, batch, done)


def release(connection: Connection, batch: Batch, keys: Iterable[str]) -> None:
    """Gives rows back to be claimed again at once."""
    connection.execute(_RELEASE, {"asset": batch.asset, "token": batch.token, "keys": list(keys)})


_FAIL = text(
    "UPDATE pending SET claim = NULL, lease_until = NULL, error = failed.error, "
    "dead_at = CASE WHEN failed.final OR attempts >= :most THEN clock_timestamp() END, "
    "not_before = clock_timestamp() + make_interval(secs => least(60, power(2, attempts - 1))) "
    "FROM unnest(cast(:keys AS text[]), cast(:errors AS text[]), cast(:finals AS boolean[])) "
    "AS failed (key, error, final) "
    "WHERE pending.asset = :asset AND pending.claim = :token AND pending.key = failed.key "
    "RETURNING pending.key, pending.dead_at IS NOT NULL AS dead"
)


def fail(connection: Connection, batch: Batch, failures: Mapping[str, tuple[str, bool]]) -> set[str]:
    """Stores why rows failed (error, final) and when to try again; returns the keys that are now dead."""
    parameters = {
        "asset": batch.asset,
        "token": batch.token,
        "most": MAX_ATTEMPTS,
        "keys": list(failures),
        "errors": [error for error, _ in failures.values()],
        "finals": [final for _, final in failures.values()],
    }
    return {row.key for row in connection.execute(_FAIL, parameters) if row.dead}


_POSTPONE = text(
    "UPDATE pending SET claim = NULL, lease_until = NULL, error = :error, attempts = attempts - 1, "
    "not_before = clock_timestamp() + make_interval(secs => :seconds) WHERE asset = :asset AND claim = :token"
)


def postpone(connection: Connection, batch: Batch, error: str | None, seconds: float) -> None:
    """Gives the batch back untouched: what it needs does not answer, or it was interrupted; no row is to blame."""
    connection.execute(_POSTPONE, {"asset": batch.asset, "token": batch.token, "error": error, "seconds": seconds})


_REDRIVE = text(
    "UPDATE pending SET dead_at = NULL, attempts = 0, not_before = NULL, error = NULL, "
    "change = nextval('pending_change') "
    "WHERE dead_at IS NOT NULL AND (cast(:asset AS text) IS NULL OR asset = :asset) "
    "AND (cast(:key AS text) IS NULL OR key = :key) RETURNING key"
)


def redrive(connection: Connection, asset: str | None = None, key: str | None = None) -> list[str]:
    """Revives dead rows, all or those named; returns their keys."""
    return list(connection.execute(_REDRIVE, {"asset": asset, "key": key}).scalars())


_WAITING = text(
    "SELECT asset, day, split_part(key, ':', 1) AS kind, count(*) AS rows, max(change) AS newest FROM pending "
    "WHERE dead_at IS NULL AND (lease_until IS NULL OR lease_until < clock_timestamp()) "
    "AND (not_before IS NULL OR not_before < clock_timestamp()) "
    f"AND (backfill IS NULL OR {UNLED}) GROUP BY asset, day, kind ORDER BY asset, day"
)


def waiting(connection: Connection) -> list[Waiting]:
    """What could be claimed now, by asset, day and kind of key."""
    return [Waiting(row.asset, row.day, row.rows, row.newest, row.kind) for row in connection.execute(_WAITING)]


_OPEN_DAYS = text(f"SELECT DISTINCT day FROM pending WHERE {_CLAIMABLE}")


def open_days(connection: Connection, asset: str, days: Days, backfill: str | None = None) -> set[date]:
    """Days of the range that still hold a row which could be claimed now, by `backfill` if it is one."""
    parameters = {"asset": asset, "first": days.start, "last": days.end, "backfill": backfill}
    return {row.day for row in connection.execute(_OPEN_DAYS, parameters)}
