"""Tasks and deliveries sent to a platform, a fsynced ledger of what it acknowledged, and the verdict of the tables."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

REPEATED = 0.2  # of what was acknowledged, sent again: same key or delivery id
REPLAYED = 0.02  # of the deliveries, sent again under a new id
FORGED = 0.05
PATIENCE = 400.0  # s that a caller tries again
TIMEOUT = httpx.Timeout(20.0, connect=2.0)


class Ledger:
    """One line for each acknowledgement, on the disk before the next request is sent."""

    def __init__(self, path: Path) -> None:
        self._file, self._lock = path.open("a+"), threading.Lock()

    def write(self, kind: str, key: str, id_: int) -> None:
        with self._lock:
            self._file.write(json.dumps([kind, key, id_]) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def read(self, kind: str) -> dict[str, int]:
        """Key → id of what was acknowledged. Two ids for one key are a doubled effect."""
        with self._lock:
            self._file.seek(0)
            lines = [json.loads(line) for line in self._file]
        found: dict[str, int] = {}
        for line_kind, key, id_ in lines:
            if line_kind == kind and found.setdefault(key, id_) != id_:
                raise AssertionError(f"{key} was acknowledged as {found[key]} and as {id_}")
        return found


@dataclass
class Traffic:
    """Sends until it is stopped; a request that fails is sent again until it is acknowledged, as callers do."""

    orchestrator: str
    achievements: str
    api_key: str
    secret: str
    ledger: Ledger
    seed: int
    per_second: float
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("task", "delivery", "repeated", "forged"), 0))
    forged_accepted: int = 0
    errors: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._until_stopped, args=[one]) for one in (self._task, self._delivery)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def _until_stopped(self, send: Callable[[httpx.Client, random.Random, int], None]) -> None:
        chance, number = random.Random(self.seed), 0
        try:
            with httpx.Client(timeout=TIMEOUT) as client:
                while not self.stop.wait(1 / self.per_second):
                    number += 1
                    send(client, chance, number)
        except BaseException as error:  # told to whoever waits for the thread
            self.errors.append(error)
            raise

    def _task(self, client: httpx.Client, chance: random.Random, number: int) -> None:
        key = f"chaos-{self.seed}-{number}"
        body = {"type": "content.generation", "payload": {"topic": key}}
        headers = {"Authorization": f"Bearer {self.api_key}", "Idempotency-Key": key}
        for _ in range(1 + (chance.random() < REPEATED)):
            answer = self._acknowledged(client, "orchestrator", "/task", json=body, headers=headers)
            self.ledger.write("task", key, answer["id"])
        self.sent["task"] += 1

    def _delivery(self, client: httpx.Client, chance: random.Random, number: int) -> None:
        key = f"chaos-{self.seed}-{number}"
        body = _push(sha_of(key), number)
        place = ("achievements", "/webhooks/github")
        if chance.random() < FORGED:
            forged = self._headers(key + "-forged", body, secret="somebody else's")
            self.sent["forged"] += 1
            while (status := self._status(client, *place, content=body, headers=forged)) >= 500:
                self.stop.wait(0.25)
            self.forged_accepted += status < 400
        again = chance.random() < REPEATED
        for _ in range(1 + again):
            answer = self._acknowledged(client, *place, content=body, headers=self._headers(key, body))
            self.ledger.write("delivery", key, answer["id"])
        self.sent["repeated"] += again
        if chance.random() < REPLAYED:
            answer = self._acknowledged(client, *place, content=body, headers=self._headers(key + "-replayed", body))
            self.ledger.write("delivery", key, answer["id"])
        self.sent["delivery"] += 1

    def _headers(self, delivery_id: str, body: bytes, secret: str = "") -> dict[str, str]:
        signed = hmac.new((secret or self.secret).encode(), body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": delivery_id,
            "X-Hub-Signature-256": f"sha256={signed}",
        }

    def _post(self, client: httpx.Client, service: str, path: str, **request: Any) -> httpx.Response | None:
        """None when nobody is there. The address is asked for each time: after a restart it may be another one."""
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


def _push(sha: str, number: int) -> bytes:
    commit = {
        "id": sha,
        "message": f"feat: count request {number} ({sha[:12]})",
        "timestamp": "2026-01-02T03:04:05Z",
        "author": {"name": "Ada", "email": "ada@example.org", "username": "ada"},
        "added": [f"counter_{number}.py"],
        "removed": [],
        "modified": [],
    }
    repository = {"full_name": "chaos/engine", "default_branch": "main", "fork": False}
    value = {"ref": "refs/heads/main", "repository": repository, "commits": [commit], "head_commit": commit}
    return json.dumps(value | {"deleted": False}).encode()


@dataclass(frozen=True)
class Verdict:
    """Set algebra of the ledger and the tables."""

    acknowledged: dict[str, int]
    applied: dict[str, int]
    lost: dict[str, list[str]]
    doubled: dict[str, list[str]]

    @property
    def holds(self) -> bool:
        return not any([*self.lost.values(), *self.doubled.values()])


TASKS = """
SELECT payload ->> 'topic', count(DISTINCT tasks.id), count(posts.id), count(arcs.id)
FROM tasks LEFT JOIN posts ON posts.task_id = tasks.id LEFT JOIN emotion_trajectories AS arcs ON arcs.post_id = posts.id
WHERE payload ->> 'topic' LIKE 'chaos-%' GROUP BY 1
"""
DELIVERIES = "SELECT body_hash, count(*) FROM inbox WHERE delivery_id LIKE 'chaos-%' GROUP BY 1"
SHAS = (
    "SELECT right(source_key, 40), count(*) FROM achievements "
    "WHERE source_key LIKE '%%chaos/engine%%' AND deleted_at IS NULL GROUP BY 1"
)


def judge(database_url: str, ledger: Ledger) -> Verdict:
    """What was acknowledged against what is there; asked when nothing waits any more."""
    tasks, deliveries = ledger.read("task"), ledger.read("delivery")
    with psycopg.connect(database_url) as connection:
        made = {topic: counts for topic, *counts in connection.execute(TASKS)}
        achievements: dict[str, int] = dict(connection.execute(SHAS).fetchall())
        stored = connection.execute(DELIVERIES).fetchall()
    by_sha = {sha_of(key): key for key in deliveries}
    return Verdict(
        acknowledged={"tasks": len(tasks), "deliveries": len(deliveries)},
        applied={
            "tasks": sum(counts == [1, 1, 1] for counts in made.values()),
            "deliveries": sum(sha in achievements for sha in by_sha),
        },
        lost={
            "tasks": [key for key in tasks if key not in made or 0 in made[key]],
            "deliveries": [key for sha, key in by_sha.items() if sha not in achievements],
        },
        doubled={
            "tasks": [key for key, counts in made.items() if max(counts) > 1],
            "deliveries": [sha for sha, count in achievements.items() if count > 1]
            + [digest for digest, count in stored if count > 1],
        },
    )
