"""What comes in and goes out: strict JSON, and the models that all requests and answers derive from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue
from starlette.concurrency import run_in_threadpool

from threads_agent_dagster.errors import InvalidInput

MAX_DEPTH = 32
SMALL_BODY_BYTES = 64 * 1024  # parsed within a millisecond; larger ones would hold up everybody else
INTEGER = 2**31 - 1  # the largest values of PostgreSQL's types
BIGINT = 2**63 - 1
CLOCKS_APART = timedelta(hours=1)

Where = tuple["Where | None", str | int]
Item = TypeVar("Item")


class In(BaseModel):
    """What a caller may send: the fields named, nothing else."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_strip_whitespace=False)


class Out(BaseModel):
    """What is answered: the fields named, whatever the row holds beside them."""

    model_config = ConfigDict(extra="ignore", from_attributes=True)


class Page(Out, Generic[Item]):
    """One page of a list; `next` is the cursor of the following page, null on the last."""

    items: list[Item]
    next: str | None = None


def storable_text(text: str) -> str:
    """`text`, if PostgreSQL can hold it. Raises ValueError."""
    if "\x00" in text:
        raise ValueError("the character U+0000 cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not a character") from None
    return text


def printable(text: str, field: str) -> str:
    """`text` of a header, if it has printable ASCII only. Raises InvalidInput."""
    if not (text.isascii() and text.isprintable()):
        raise InvalidInput("printable ASCII is expected here", field=field)
    return text


def _happened(moment: datetime) -> datetime:
    """What was observed in the future would stay the newest for ever. Raises ValueError."""
    if moment > datetime.now(UTC) + CLOCKS_APART:
        raise ValueError("it lies in the future")
    return moment


Id = Annotated[int, Field(ge=1, le=BIGINT)]
SmallId = Annotated[int, Field(ge=1, le=INTEGER)]
Count = Annotated[int, Field(ge=0, le=INTEGER)]
Name = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"), AfterValidator(storable_text)
]
Line = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S"), AfterValidator(storable_text)]
LongText = Annotated[str, Field(max_length=50_000), AfterValidator(storable_text)]
SearchText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable_text)]
Score = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(9000, 1, 1))]
Moment = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(9000, 1, 1, tzinfo=UTC))]
Past = Annotated[Moment, AfterValidator(_happened)]
JsonObject = Annotated[dict[str, JsonValue], Field(max_length=100)]


def _loads(body: bytes) -> object:
    try:
        return json.loads(body)  # with NaN and Infinity, so that their refusal can name the field
    except RecursionError:
        raise InvalidInput("nested too deeply", field="body") from None
    except UnicodeDecodeError:
        raise InvalidInput("not UTF-8", field="body") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error.msg} at character {error.pos}", field="body") from None
    except ValueError:  # an integer of more digits than Python converts
        raise InvalidInput("holds a number too large to store", field="body") from None


def parse_json(body: bytes) -> object:
    """The value of a JSON text. Raises InvalidInput for NaN, unreadable numbers, and nesting beyond MAX_DEPTH."""
    return _checked(_loads(body), _infinite)


def parse_storable_json(body: bytes) -> object:
    """As `parse_json`; refuses also text and numbers that PostgreSQL cannot hold."""
    return _checked(_loads(body), _unstorable)


def _checked(value: object, fault_of: Callable[[object], str | None]) -> object:
    for item, depth, path in _walk(value):
        fault = "nested too deeply" if depth > MAX_DEPTH else fault_of(item)
        if fault:
            raise InvalidInput(fault, field=_render(path))
    return value


def _walk(value: object) -> Iterator[tuple[object, int, Where | None]]:
    """Every value and key below `value` with its depth and path; not recursive, so that depth costs no stack."""
    waiting: list[tuple[object, int, Where | None]] = [(value, 0, None)]
    while waiting:
        item, depth, path = waiting.pop()
        yield item, depth, path
        if depth > MAX_DEPTH:
            return
        if isinstance(item, dict):
            waiting.extend((key, depth, path) for key in item)
            waiting.extend((child, depth + 1, (path, key)) for key, child in item.items())
        elif isinstance(item, list):
            waiting.extend((child, depth + 1, (path, index)) for index, child in enumerate(item))


def _infinite(item: object) -> str | None:
    return "not a finite number" if isinstance(item, float) and not math.isfinite(item) else None


def _unstorable(item: object) -> str | None:
    if isinstance(item, str):
        try:
            storable_text(item)
        except ValueError as error:
            return str(error)
    if isinstance(item, int) and abs(item) > BIGINT:
        return "a number too large to store"
    return _infinite(item)


def _render(path: Where | None) -> str:
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(str(part).encode("utf-8", "replace").decode()[:100].replace("\x00", "\N{REPLACEMENT CHARACTER}"))
    return ".".join(reversed(parts)) or "body"


class _StrictRequest(Request):
    parsed: object = None

    async def json(self) -> Any:
        return self.parsed


async def _parsed(body: bytes) -> object:
    if len(body) <= SMALL_BODY_BYTES:
        return parse_storable_json(body)
    return await run_in_threadpool(parse_storable_json, body)


class StrictRoute(APIRoute):
    """A route whose JSON body is parsed strictly: Python's own parser lets NaN and half characters through."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_strictly(request: Request) -> Response:
            strict = _StrictRequest(request.scope, request.receive)
            body = await strict.body()
            strict.state.body_hash = hashlib.sha256(body).hexdigest()  # what an Idempotency-Key holds a caller to
            if body:
                strict.parsed = await _parsed(body)
            return await handle(strict)

        return handle_strictly
