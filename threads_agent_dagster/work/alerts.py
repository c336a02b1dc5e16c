"""Telling people what failed: each failure once, at most so many an hour, and how many were withheld.

When more wait than may be told within the hour they wait together; as soon as there is room again the oldest are told
one by one, the first of them with the number of those that are not told on their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from threads_agent_dagster.db import outbox
from threads_agent_dagster.db.alerts import TOPIC
from threads_agent_dagster.db.outbox import Message
from threads_agent_dagster.db.pending import Claimed
from threads_agent_dagster.errors import PermanentFailure, Unavailable
from threads_agent_dagster.work.drain import Failure, Job, Origin

CODE_VERSION: Final = "1"
HOUR: Final = 3600.0  # s

Send = Callable[[str, datetime, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is to be told; `told` says how many seconds ago each alert of the last hour was."""

    messages: list[Message]
    told: Sequence[float]


@dataclass(frozen=True, slots=True)
class Told:
    """What became of an alert; neither: it waits on."""

    id: int
    sent: bool = False
    withheld: bool = False


def job(send: Send, per_hour: int, seconds: float) -> Job[Waiting, Told]:
    """How alerts are delivered by `send` (raises Unavailable or PermanentFailure), for about `seconds` at a time."""

    def load(connection: Connection, rows: Sequence[Claimed]) -> Waiting:
        messages = outbox.read(connection, TOPIC, [row.key for row in rows])
        return Waiting(messages, outbox.delivered(connection, TOPIC, HOUR))

    return Job(
        asset=TOPIC,
        code_version=CODE_VERSION,
        load=load,
        compute=lambda waiting: tell(waiting, send, per_hour, time.monotonic() + seconds),
        store=store,
    )


def tell(waiting: Waiting, send: Send, per_hour: int, until: float) -> dict[str, Told | Failure]:
    """Sends as many as the hour has room for, until a monotonic time (s).

    Raises Unavailable when there is no room or nothing could be sent.
    """
    if not waiting.messages:
        return {}
    room = _room(waiting.told, per_hour)
    outcome: dict[str, Told | Failure] = {one.waits: Told(one.id) for one in waiting.messages}
    withheld = waiting.messages[room:]
    for tried, one in enumerate(waiting.messages[:room]):
        if tried and time.monotonic() > until:
            break
        try:
            send(f"alert_{one.id}", datetime.now(UTC), document(one, len(withheld)))
        except PermanentFailure as error:
            outcome[one.waits] = Failure(str(error))
        except Unavailable:
            if not tried:
                raise
            break  # what was sent is stored before the others are tried again
        else:
            outcome |= {other.waits: Told(other.id, withheld=True) for other in withheld}
            outcome[one.waits] = Told(one.id, sent=True)
            withheld = []
    return outcome


def _room(told: Sequence[float], per_hour: int) -> int:
    room = per_hour - len(told)
    if room <= 0:
        seconds = max(1.0, HOUR - told[-per_hour])
        raise Unavailable(f"{len(told)} alerts were sent within the hour; the rest waits", seconds)
    return room


def document(message: Message, withheld: int) -> dict[str, Any]:
    """The JSON that is posted; `text` is what chat programs show."""
    more = f" ({withheld} more alerts were withheld)" if withheld else ""
    return {
        "type": message.payload["type"],
        "timestamp": message.created_at.astimezone(UTC).isoformat(),
        "text": _words(message.payload) + more,
        "withheld": withheld,
        "data": {name: value for name, value in message.payload.items() if name != "type"},
    }


def _words(payload: Mapping[str, Any]) -> str:
    if payload["type"] == "run.failed":
        return f"Run of {payload['job']} failed: {payload['error']} {payload['url']}"
    return f"Gave up on {payload['key']} of {payload['asset']} after attempt {payload['attempts']}: {payload['error']}"


def store(connection: Connection, results: Mapping[str, Told], _: Origin) -> set[str]:
    """Settles what was told; returns what waits on."""
    outbox.settle(connection, [one.id for one in results.values() if one.sent], withheld=False)
    outbox.settle(connection, [one.id for one in results.values() if one.withheld], withheld=True)
    return {waits for waits, one in results.items() if not (one.sent or one.withheld)}
