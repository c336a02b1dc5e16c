"""Reading the values of a JSON payload that others wrote: null, the wrong type and an absurd size are all "not told".

Only what identifies a thing must be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from threads_agent_dagster.errors import InvalidInput

Payload = Mapping[str, Any]

LARGEST_COUNT: Final = 2**31 - 1
IDENTITY_LIMIT: Final = 255
URL_LIMIT: Final = 500


def text_of(value: object) -> str:
    """NUL and lone surrogates cannot be stored, so they do not come in."""
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def text_at(container: Payload, name: str) -> str:
    return text_of(container.get(name))


def texts_at(container: Payload, name: str) -> list[str]:
    value = container.get(name)
    return [text for one in value if (text := text_of(one))] if isinstance(value, list) else []


def web_address_at(container: Payload, name: str) -> str | None:
    """Only a web address: it becomes a link in pages and exports."""
    url = text_at(container, name)
    return url if url.startswith(("https://", "http://")) and len(url) <= URL_LIMIT else None


def object_at(container: Payload, name: str) -> Payload:
    value = container.get(name)
    if not isinstance(value, Mapping):
        raise InvalidInput("an object is expected here", field=name)
    return value


def optional_at(container: Payload, name: str) -> Payload:
    value = container.get(name)
    return value if isinstance(value, Mapping) else {}


def objects_at(container: Payload, name: str) -> list[Payload]:
    value = container.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def count_at(container: Payload, name: str) -> int | None:
    value = container.get(name)
    return value if type(value) is int and 0 <= value <= LARGEST_COUNT else None


def moment_at(container: Payload, name: str) -> datetime | None:
    """In UTC; a time without a zone is meant so."""
    value = container.get(name)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def identity_at(container: Payload, name: str) -> str:
    value = container.get(name)
    identity = str(value) if type(value) is int else text_of(value)
    if not 0 < len(identity) <= IDENTITY_LIMIT:
        raise InvalidInput("a number or an identifier is expected here", field=name)
    return identity
