"""Accepting deliveries: what one transaction stores, and what of it is work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from threads_agent_dagster.db import inbox, pending
from threads_agent_dagster.domain.changes import Ignored
from threads_agent_dagster.domain.deliveries import change_from_delivery, event_day
from threads_agent_dagster.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of GitHub whose signature was right: the raw body and its parsed value."""

    delivery_id: str
    event: str
    body: bytes
    payload: Mapping[str, Any]
    headers: Mapping[str, str]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    """`status` is received or ignored (then with the reason); of a duplicate, what the first one has become."""

    id: int
    status: str
    reason: str | None
    duplicate: bool


def _ignored_because(delivery: Delivery) -> str | None:
    """A payload that is not what its event promises is kept as work: who works on it says what is wrong with it."""
    try:
        found = change_from_delivery(delivery.event, delivery.payload, delivery.received_at)
    except InvalidInput:
        return None
    return found.reason if isinstance(found, Ignored) else None


def accept(connection: Connection, delivery: Delivery) -> Accepted:
    """Stores the delivery and marks its work; one whose id or body is known already changes nothing."""
    body_hash = hashlib.sha256(delivery.body).hexdigest()
    reason = _ignored_because(delivery)
    day = event_day(delivery.event, delivery.payload, delivery.received_at)
    status = "received" if reason is None else "ignored"
    row = inbox.NewDelivery(
        "github", delivery.delivery_id, delivery.event, delivery.body, body_hash, delivery.headers, day,
        delivery.received_at, status, reason,
    )  # fmt: skip
    row_id = inbox.insert(connection, row)
    if row_id is None:
        first = inbox.find(connection, "github", delivery.delivery_id, body_hash)
        return Accepted(first.id, first.status, first.reason, duplicate=True)
    if reason is None:
        pending.mark(connection, "achievements", [(f"inbox:{row_id}", day)])
    return Accepted(row_id, status, reason, duplicate=False)
