"""Tasks and deliveries sent to a platform, honest and hostile ones, and a fsynced ledger of what it acknowledged."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

DUPLICATED = 0.20  # of tasks and deliveries, sent again: same key or delivery id
REPLAYED = 0.02  # of the deliveries, sent again under a new id
REORDERED = 0.05  # tell of an older state after a newer one
FORGED = 0.05
TRUNCATED = 0.01
OVERSIZED = 0.01
SENDERS = {"task": 4, "delivery": 2}
PATIENCE = 900.0  # s that a caller tries again
TIMEOUT = httpx.Timeout(20.0, connect=2.0)
LARGEST = 25 * 2**20  # bytes; GitHub's limit and ours
PLACE = ("achievements", "/webhooks/github")


class Ledger:
    """One line for each acknowledgement, on the disk before its sender goes on."""

    def __init__(self, path: Path) -> None:
        self._file, self._lock = path.open("a+"), threading.Lock()

    def write(self, kind: str, key: str, id_: int) -> None:
        with self._lock:
            self._file.write(json.dumps([kind, key, id_]) + "\n")
            self._file.flush()
        os.fsync(self._file.fileno())

    def read(self, kind: str) -> dict[str, set[int]]:
        """Key → ids under which it was acknowledged. Two ids for one key are a doubled effect."""
        found: dict[str, set[int]] = {}
        with self._lock:
            self._file.seek(0)
            for line in self._file:
                line_kind, key, id_ = json.loads(line)
                if line_kind == kind:
                    found.setdefault(key, set()).add(id_)
        return found


@dataclass
class Traffic:
    """Sends so many tasks and deliveries; a request that fails is sent again until it is acknowledged, as callers do.

    `allow` says how much of it may have been sent by now, so that it flows as long as the strikes last.
    """

    orchestrator: str
    achievements: str
    api_key: str
    secret: str
    ledger: Ledger
    seed: int
    totals: dict[str, int]
    sent: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)  # delivery ids that must not be in the tables
    errors: list[BaseException] = field(default_factory=list)
    _taken: Counter[str] = field(default_factory=Counter)
    _allowed: float = 0.0
    _turn: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._send_all, args=[kind], name=f"{kind}-{number}")
            for kind, count in SENDERS.items()
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
            self.allow(1.0)
        finally:
            if self._allowed < 1:  # a failure: nothing more is sent
                self.totals = dict.fromkeys(self.totals, 0)
                self.allow(1.0)
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def allow(self, fraction: float) -> None:
        with self._turn:
            self._allowed = fraction
            self._turn.notify_all()

    def keep_up(self, fraction: float) -> None:
        """Returns when so much of it is on its way, so that strikes do not outrun it."""
        with self._turn:
            self._turn.wait_for(lambda: self.errors or self._is_on_its_way(fraction))

    def _is_on_its_way(self, fraction: float) -> bool:
        return all(self._taken[kind] >= fraction * total for kind, total in self.totals.items())

    def _send_all(self, kind: str) -> None:
        send = {"task": self._task, "delivery": self._delivery}[kind]
        try:
            with httpx.Client(timeout=TIMEOUT) as client:
                while (number := self._next(kind)) is not None:
                    send(client, random.Random(f"{self.seed} {kind} {number}"), number)
        except BaseException as error:  # told to whoever waits for the thread
            with self._turn:
                self.errors.append(error)
                self._turn.notify_all()
            raise

    def _next(self, kind: str) -> int | None:
        """The number of the next one to send, once its turn has come."""
        with self._turn:
            while self._taken[kind] < self.totals[kind] and self._taken[kind] >= self._allowed * self.totals[kind]:
                self._turn.wait()
            if self._taken[kind] >= self.totals[kind]:
                return None
            self._taken[kind] += 1
            self._turn.notify_all()
            return self._taken[kind]

    # Honest ones

    def _task(self, client: httpx.Client, chance: random.Random, number: int) -> None:
        key = f"chaos-{self.seed}-{number}"
        body = {"type": "content.generation", "payload": {"topic": key}}
        headers = {"Authorization": f"Bearer {self.api_key}", "Idempotency-Key": key}
        again = chance.random() < DUPLICATED
        for _ in range(1 + again):
            answer = self._acknowledged(client, "orchestrator", "/task", json=body, headers=headers)
            self.ledger.write("task", key, answer["id"])
        self._count("tasks", **{"tasks duplicated": again})

    def _delivery(self, client: httpx.Client, chance: random.Random, number: int) -> None:
        key, kind = f"chaos-{self.seed}-{number}", chance.random()
        if kind < REORDERED:
            self._reordered(client, key, number)
            return
        body = push(sha_of(key), number)
        self._deliver(client, "push", "delivery", key, key, body)
        again, replayed = chance.random() < DUPLICATED, chance.random() < REPLAYED
        if again:
            self._deliver(client, "push", "delivery", key, key, body)
        if replayed:
            self._deliver(client, "push", "delivery", key, f"{key}-replayed", body)
        self._count("deliveries", **{"deliveries duplicated": again, "deliveries replayed under a new id": replayed})
        hostile = chance.random()
        if hostile < FORGED:
            self._forged(client, key, body, number)
        elif hostile < FORGED + TRUNCATED:
            self._truncated(key, body)
        elif hostile < FORGED + TRUNCATED + OVERSIZED:
            self._oversized(key)

    def _reordered(self, client: httpx.Client, key: str, number: int) -> None:
        """An issue that was closed twice; what is told of the first time arrives last."""
        for title, hour in (("second", 12), ("first", 6)):
            body = issue(number, f"{key} {title}", hour)
            self._deliver(client, "issues", f"issue {title}", key, f"{key}-{title}", body)
        self._count("deliveries", **{"deliveries reordered": 1})

    def _deliver(self, client: httpx.Client, event: str, kind: str, key: str, id_: str, body: bytes) -> None:
        headers = self._headers(id_, body, event)
        answer = self._acknowledged(client, *PLACE, content=body, headers=headers)
        self.ledger.write(kind, key, answer["id"])

    # Hostile ones

    def _forged(self, client: httpx.Client, key: str, body: bytes, number: int) -> None:
        """Signed by somebody else, another body than was signed, the old algorithm, or no signature at all."""
        id_ = f"{key}-forged"
        forged = body.replace(b"feat: ", b"feat: forged ")
        headers = self._headers(id_, forged)
        sha1 = hmac.new(self.secret.encode(), forged, hashlib.sha1).hexdigest()
        ways: list[dict[str, str]] = [
            self._headers(id_, forged, secret="somebody else's"),
            headers | {"X-Hub-Signature-256": self._headers(id_, body)["X-Hub-Signature-256"]},
            {name: value for name, value in headers.items() if "Signature" not in name}
            | {"X-Hub-Signature": f"sha1={sha1}"},
            {name: value for name, value in headers.items() if "Signature" not in name},
        ]
        self._refused("forged", id_)
        while (status := self._status(client, *PLACE, content=forged, headers=ways[number % len(ways)])) >= 500:
            time.sleep(0.25)
        if status < 400:
            raise AssertionError(f"a forged delivery was acknowledged: {id_}")

    def _truncated(self, key: str, body: bytes) -> None:
        """The connection breaks in the middle of a body that is signed rightly."""
        other = body.replace(b"feat: ", b"feat: truncated ")
        self._refused("truncated", f"{key}-truncated")
        self._raw(self._headers(f"{key}-truncated", other), len(other), other[: len(other) // 2])

    def _oversized(self, key: str) -> None:
        self._refused("oversized", f"{key}-oversized")
        answer = self._raw(self._headers(f"{key}-oversized", b""), LARGEST + 1, b"{")
        if answer and b" 413 " not in answer and not answer.startswith(b"HTTP/1.1 5"):
            raise AssertionError(f"an oversized delivery was answered by {answer!r}")

    def _raw(self, headers: dict[str, str], length: int, body: bytes) -> bytes:
        """The first line of the answer; nothing when nobody is there."""
        place = urlsplit(self.achievements)
        lines = [f"POST {PLACE[1]} HTTP/1.1", f"Host: {place.netloc}", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with suppress(OSError), socket.create_connection((place.hostname, place.port), 5) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").readline()
        return b""

    def _refused(self, how: str, id_: str) -> None:
        with self._turn:
            self.refused.append(id_)
            self.sent[f"deliveries {how}"] += 1

    # Requests

    def _count(self, name: str, **more: int) -> None:
        with self._turn:
            self.sent.update({name: 1} | more)

    def _headers(self, delivery_id: str, body: bytes, event: str = "push", secret: str = "") -> dict[str, str]:
        signed = hmac.new((secret or self.secret).encode(), body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery_id,
            "X-Hub-Signature-256": f"sha256={signed}",
        }

    def _post(self, client: httpx.Client, service: str, path: str, **request: Any) -> httpx.Response | None:
        """None when nobody is there."""
        try:
            return client.post(f"{getattr(self, service)}{path}", **request)
        except httpx.TransportError:
            return None

    def _status(self, client: httpx.Client, service: str, path: str, **request: Any) -> int:
        answer = self._post(client, service, path, **request)
        return 599 if answer is None else answer.status_code

    def _acknowledged(self, client: httpx.Client, service: str, path: str, **request: Any) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            answer = self._post(client, service, path, **request)
            if answer is not None and answer.status_code == 202:
                return dict(answer.json())
            if answer is not None and answer.status_code < 500 and answer.status_code not in (409, 429):
                raise AssertionError(f"{path} refused what it must accept: {answer.status_code} {answer.text}")
            time.sleep(0.25)
        raise AssertionError(f"{path} did not acknowledge within {PATIENCE:.0f} s")


def sha_of(key: str) -> str:
    """The commit that a delivery is about."""
    return hashlib.sha1(key.encode()).hexdigest()


REPOSITORY = {"full_name": "chaos/engine", "default_branch": "main", "fork": False}


def push(sha: str, number: int) -> bytes:
    commit = {
        "id": sha,
        "message": f"feat: count request {number} ({sha[:12]})",
        "timestamp": "2026-01-02T03:04:05Z",
        "author": {"name": "Ada", "email": "ada@example.org", "username": "ada"},
        "added": [f"counter_{number}.py"],
        "removed": [],
        "modified": [],
    }
    value = {"ref": "refs/heads/main", "repository": REPOSITORY, "commits": [commit], "head_commit": commit}
    return json.dumps(value | {"deleted": False}).encode()


def issue(number: int, title: str, hour: int) -> bytes:
    closed = f"2026-01-02T{hour:02}:00:00Z"
    user = {"login": "ada", "type": "User"}
    told = {"number": number, "title": title, "body": None, "user": user, "labels": [], "comments": 0}
    told |= {"html_url": f"https://github.com/chaos/engine/issues/{number}", "state_reason": "completed"}
    told |= {"created_at": "2026-01-01T00:00:00Z", "closed_at": closed, "updated_at": closed}
    return json.dumps({"action": "closed", "issue": told, "repository": REPOSITORY, "sender": user}).encode()
