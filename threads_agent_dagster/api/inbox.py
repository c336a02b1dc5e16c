"""POST /webhooks/github: what GitHub signed is stored as it came, once, before it is acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import SecretStr
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from threads_agent_dagster.api.bodies import Out, parse_json
from threads_agent_dagster.api.dependencies import EngineDep, SettingsDep
from threads_agent_dagster.api.problems import DATABASE_DOWN, database_fault
from threads_agent_dagster.errors import ConfigurationError, InvalidInput, Unauthorized, Unavailable
from threads_agent_dagster.work.inbox import Accepted, Delivery, accept

router = APIRouter(tags=["webhooks"])

HOLD_SECONDS = 8.0  # GitHub gives up after 10 s and never tries again by itself
RETRY_SECONDS = 0.25
SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
DELIVERY_ID = re.compile(r"[\x21-\x7e]{1,100}")  # GitHub sends a GUID; other senders may not
EVENT = re.compile(r"[a-z_]{1,60}")
KEPT_HEADERS = re.compile(r"x-github-[a-z-]+|user-agent|content-type")


class DeliveryAccepted(Out):
    """`duplicate`: this delivery, or this body under another id, is there already; nothing was stored."""

    id: int
    delivery_id: str
    status: str
    reason: str | None
    duplicate: bool


def signature(secret: SecretStr, body: bytes) -> str:
    """The value of X-Hub-Signature-256 without its prefix."""
    return hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()


def _header(request: Request, name: str, form: re.Pattern[str]) -> str:
    values = request.headers.getlist(name)
    found = form.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        raise InvalidInput("exactly one well-formed value is expected", field=name)
    return found[0]


def _claimed_signature(request: Request) -> str:
    values = request.headers.getlist("X-Hub-Signature-256")
    found = SIGNATURE.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        raise Unauthorized("the delivery is not signed: exactly one X-Hub-Signature-256 (sha256=…) is expected")
    return found[1]


def _secret(settings: SettingsDep) -> SecretStr:
    secret = settings.github_webhook_secret
    if secret is None or not secret.get_secret_value():
        raise ConfigurationError(
            "deliveries are refused because no secret is configured: set GITHUB_WEBHOOK_SECRET to the webhook's secret"
        )
    return secret


def _payload(request: Request, body: bytes) -> Mapping[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InvalidInput("set the webhook's content type to application/json", field="Content-Type")
    payload = parse_json(body)
    if not isinstance(payload, dict):
        raise InvalidInput("an object is expected", field="body")
    return payload


@router.post("/webhooks/github", status_code=202)
async def receive_delivery(request: Request, engine: EngineDep, settings: SettingsDep) -> DeliveryAccepted:
    secret, claimed = _secret(settings), _claimed_signature(request)
    body = await request.body()
    if not hmac.compare_digest(signature(secret, body), claimed):
        raise Unauthorized("the signature does not match the body: is GITHUB_WEBHOOK_SECRET the webhook's secret?")
    delivery = Delivery(
        delivery_id=_header(request, "X-GitHub-Delivery", DELIVERY_ID),
        event=_header(request, "X-GitHub-Event", EVENT),
        body=body,
        payload=await run_in_threadpool(_payload, request, body),  # a large one takes seconds
        headers={name: value for name, value in request.headers.items() if KEPT_HEADERS.fullmatch(name)},
        received_at=datetime.now(UTC),
    )
    accepted = await _store(engine, delivery)
    return DeliveryAccepted(
        id=accepted.id,
        delivery_id=delivery.delivery_id,
        status=accepted.status,
        reason=accepted.reason,
        duplicate=accepted.duplicate,
    )


def _store_once(engine: Engine, delivery: Delivery) -> Accepted:
    with engine.begin() as connection:
        return accept(connection, delivery)


async def _store(engine: Engine, delivery: Delivery) -> Accepted:
    """Tries again while PostgreSQL restarts: storing is idempotent, and GitHub does not deliver twice by itself."""
    deadline = time.monotonic() + HOLD_SECONDS
    while True:
        try:
            return await run_in_threadpool(_store_once, engine, delivery)
        except DATABASE_DOWN as error:
            if time.monotonic() >= deadline:
                raise Unavailable(f"{database_fault(error)}; deliver it again") from error
            await asyncio.sleep(RETRY_SECONDS)
