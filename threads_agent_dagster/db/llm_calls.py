"""The ledger of paid calls, and the budget of tokens that they are reserved from.

Of a request one call is `answered` at most and one `reserved`. A reserved call counts at its most, a `lost` one too
(nobody knows whether it was paid), an answered one as it was measured, a `refused` one not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from threads_agent_dagster.domain.backfills import Spent

_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('llm_calls ' || :request_hash, 0))")


def try_lock(session: Connection, request_hash: str) -> bool:
    """Whether the request is this session's until it ends; False while another one asks."""
    return bool(session.execute(_LOCK, {"request_hash": request_hash}).scalar_one())


_FIND = text("SELECT answer FROM llm_calls WHERE request_hash = :request_hash AND status = 'answered'")


def find_answer(connection: Connection, request_hash: str) -> Mapping[str, Any] | None:
    """What was answered to this request; None if it never was."""
    answer: Mapping[str, Any] | None = connection.execute(_FIND, {"request_hash": request_hash}).scalar_one_or_none()
    return answer


_WRITE_OFF = text(
    "UPDATE llm_calls SET status = 'lost', used_tokens = reserved_tokens, settled_at = clock_timestamp(), "
    "error = 'whoever asked died before the answer was recorded' "
    "WHERE request_hash = :request_hash AND status = 'reserved'"
)


def write_off(connection: Connection, request_hash: str) -> None:
    """Settles what a dead caller had reserved, at its most. Only for the holder of the lock."""
    connection.execute(_WRITE_OFF, {"request_hash": request_hash})


@dataclass(frozen=True, slots=True)
class Reservation:
    """`tokens` is the most that the call can use."""

    request_hash: str
    item: str
    model: str
    tokens: int
    run_id: str | None


_OPEN_DAY = text("INSERT INTO llm_budgets (day) VALUES (utc_day(now())) ON CONFLICT DO NOTHING")
_TAKE = text(
    "UPDATE llm_budgets SET used_tokens = used_tokens + :tokens "
    "WHERE day = utc_day(now()) AND used_tokens + :tokens <= :budget"
)
_RESERVE = text(
    "INSERT INTO llm_calls (request_hash, item, model, day, reserved_tokens, run_id) "
    "VALUES (:request_hash, :item, :model, utc_day(now()), :tokens, :run_id) RETURNING id"
)


def reserve(connection: Connection, reservation: Reservation, budget: int) -> int | None:
    """The id of a call that may be made now; None when today's budget (tokens) has no room for it."""
    connection.execute(_OPEN_DAY)
    values = {name: getattr(reservation, name) for name in Reservation.__slots__}
    if connection.execute(_TAKE, {"tokens": reservation.tokens, "budget": budget}).rowcount == 0:
        return None
    return int(connection.execute(_RESERVE, values).scalar_one())


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a call ended; `used_tokens` None: at its most."""

    status: str
    used_tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: Decimal | None = None
    answer: Mapping[str, Any] | None = None
    error: str | None = None


_SETTLE = text("""
    WITH settled AS (
        UPDATE llm_calls SET status = :status, used_tokens = coalesce(:used_tokens, reserved_tokens),
            prompt_tokens = :prompt_tokens, completion_tokens = :completion_tokens, cost_usd = :cost_usd,
            answer = :answer, error = :error, settled_at = clock_timestamp()
        WHERE id = :id AND status = 'reserved' RETURNING day, used_tokens - reserved_tokens AS difference
    )
    UPDATE llm_budgets SET used_tokens = llm_budgets.used_tokens + settled.difference
    FROM settled WHERE llm_budgets.day = settled.day
""").bindparams(bindparam("answer", type_=JSONB(none_as_null=True)))


def settle(connection: Connection, call_id: int, settlement: Settlement) -> bool:
    """Whether the call was still reserved: it was written off if its caller was taken for dead."""
    values = {name: getattr(settlement, name) for name in Settlement.__slots__}
    return connection.execute(_SETTLE, values | {"id": call_id}).rowcount == 1


_USED = text("SELECT coalesce(sum(used_tokens), 0)::bigint FROM llm_budgets WHERE day = utc_day(now())")


def used_today(connection: Connection) -> int:
    """Tokens of today's budget that are used or reserved."""
    return int(connection.execute(_USED).scalar_one())


_SPENT = text("""
    SELECT sum(used_tokens)::bigint AS tokens, CASE WHEN bool_and(cost_usd IS NOT NULL) THEN sum(cost_usd) END AS usd
    FROM llm_calls WHERE run_id = :run_id AND item = :item AND status <> 'refused'
""")


def spent(connection: Connection, run_id: str, item: str) -> Spent | None:
    """What a run's calls for the item took; None when it made none, or the cost of one is not known."""
    found = connection.execute(_SPENT, {"run_id": run_id, "item": item}).one()
    return None if found.usd is None else Spent(found.tokens, found.usd)
