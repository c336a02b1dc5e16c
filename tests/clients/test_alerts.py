"""Posting an alert: the signature of Standard Webhooks, and which answers are worth another try."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from tests.receiver import Receiver
from threads_agent_dagster.clients import alerts
from threads_agent_dagster.errors import PermanentFailure, Unavailable
from threads_agent_dagster.local.ports import free_ports

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_signature_is_that_of_the_published_example() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks (libraries/python, README)."""
    secret = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = alerts.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_can_check_who_posted(receiver: Receiver) -> None:
    alerts.Receiver(SecretStr(receiver.url), SecretStr("any text")).send("alert_1", NOW, {"text": "naïve"})
    (one,) = receiver.received
    assert one.json == {"text": "naïve"}
    assert (one.headers["webhook-id"], one.headers["webhook-timestamp"]) == ("alert_1", str(int(NOW.timestamp())))
    signed = f"alert_1.{int(NOW.timestamp())}.".encode() + one.body
    expected = base64.b64encode(hmac.new(b"any text", signed, hashlib.sha256).digest()).decode()
    assert one.headers["webhook-signature"] == f"v1,{expected}"


def test_without_a_secret_nothing_claims_to_be_signed(receiver: Receiver) -> None:
    alerts.Receiver(SecretStr(receiver.url), None).send("alert_1", NOW, {})
    assert "webhook-signature" not in receiver.received[0].headers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_may_pass_is_worth_another_try(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {"Retry-After": "17"}, b"")]
    with pytest.raises(Unavailable, match=str(status)) as raised:
        alerts.Receiver(SecretStr(receiver.url), None).send("alert_1", NOW, {})
    assert raised.value.seconds == 17


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410])
def test_what_will_not_pass_is_not_tried_again(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {"Location": receiver.url}, b"")]
    with pytest.raises(PermanentFailure, match=str(status)):
        alerts.Receiver(SecretStr(receiver.url), None).send("alert_1", NOW, {})
    assert len(receiver.received) == 1, "no redirect is followed"


@pytest.mark.parametrize(
    ("url", "failure"), [("nothing", PermanentFailure), ("http://127.0.0.1:{port}/s3cr3t", Unavailable)]
)
def test_no_error_tells_the_url(url: str, failure: type[Exception]) -> None:
    url = url.format(port=free_ports(1)[0])
    with pytest.raises(failure) as raised:
        alerts.Receiver(SecretStr(url), None).send("alert_1", NOW, {})
    assert "s3cr3t" not in str(raised.value)
