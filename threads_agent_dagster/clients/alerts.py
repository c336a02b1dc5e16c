"""The receiver of alerts: any HTTP endpoint, signed as https://www.standardwebhooks.com describes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import SecretStr

from threads_agent_dagster.errors import PermanentFailure, Unavailable

TIMEOUT = httpx.Timeout(5.0)
TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
BASE64_PREFIX = "whsec_"


def signature(secret: SecretStr, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    plain = secret.get_secret_value()
    key = base64.b64decode(plain.removeprefix(BASE64_PREFIX)) if plain.startswith(BASE64_PREFIX) else plain.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Receiver:
    """POSTs JSON to `url`, which may be a secret itself and is in no error; redirects are not followed."""

    def __init__(self, url: SecretStr, secret: SecretStr | None) -> None:
        self._url = url
        self._secret = secret

    def send(self, message_id: str, now: datetime, document: Mapping[str, Any]) -> None:
        """Raises Unavailable where trying again helps, PermanentFailure where it does not."""
        body = json.dumps(document, ensure_ascii=False).encode()
        timestamp = int(now.timestamp())
        headers = {"Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(timestamp)}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, message_id, timestamp, body)
        try:
            answer = httpx.post(self._url.get_secret_value(), content=body, headers=headers, timeout=TIMEOUT)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise PermanentFailure("THREADS_AGENT_ALERT_WEBHOOK_URL is no http(s) URL; mend it, then redrive") from None
        except httpx.TransportError as error:
            raise Unavailable(f"the receiver of alerts does not answer ({type(error).__name__})") from None
        _check(answer)


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    if answer.is_server_error or answer.status_code in TRY_AGAIN:
        after = answer.headers.get("retry-after", "")
        seconds = float(after) if after.isdecimal() else None
        raise Unavailable(f"the receiver of alerts answered {answer.status_code}", seconds)
    raise PermanentFailure(f"the receiver of alerts answered {answer.status_code}; mend its URL or it, then redrive")
