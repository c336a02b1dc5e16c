"""Whatever is sent to whatever operation: an answer below 500, and a problem document when it is refused."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from threads_agent_dagster.api.apps import ROUTERS

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "12"))
WORDS = [
    "", " ", "\x00", "a\x00b", "'", "' OR '1'='1", "1; DROP TABLE posts --", "%", "_", "\\", "../../etc/passwd", "é",
    "\U0001f642", "\u202e", "x" * 5000, "NaN", "Infinity", "-1", "0", "1", str(2**31), str(2**63), "9" * 400, "1e999",
    "null", "true", "2026-01-02", "0001-01-01", "9999-12-31", "2026-01-02T03:04:05Z", "9999-12-31T23:59:59-12:00",
    "{}", "<script>", "feature", "manual", "content.generation", "default", "W10", "WyJpZCIsMSwxXQ", "*", '"1"',
]  # fmt: skip
VALUES: list[Any] = [
    *WORDS, None, True, False, 0, 1, -1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**400, [], {}, [1], {"a": 1}, [[[[]]]],
    {"": None}, {"type": "content.generation"}, "\ud800", float("nan"), float("inf"),
]  # fmt: skip
PLAIN = {"string": "default", "integer": 1, "number": 1.0, "boolean": True, "null": None}
DATES = {"date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "uri": "https://example.org/"}


class Caller:
    """Makes up requests for an app's operations: near what its schema asks for, spoiled here and there."""

    def __init__(self, schema: Mapping[str, Any], chance: random.Random) -> None:
        self.components: Mapping[str, Any] = schema.get("components", {}).get("schemas", {})
        self.chance = chance

    def value(self, schema: Mapping[str, Any]) -> Any:
        """A value of the schema; one in six is something else."""
        if self.chance.random() < 1 / 6:
            return self.chance.choice(VALUES)
        if "$ref" in schema:
            return self.value(self.components[schema["$ref"].rpartition("/")[2]])
        for kind in ("oneOf", "anyOf", "allOf", "enum"):
            if kind in schema:
                chosen = self.chance.choice(schema[kind])
                return chosen if kind == "enum" else self.value(chosen)
        return schema["const"] if "const" in schema else self._of_type(schema)

    def _of_type(self, schema: Mapping[str, Any]) -> Any:
        if schema.get("type") == "array":
            return [self.value(schema.get("items", {})) for _ in range(self.chance.randrange(4))]
        if schema.get("type") == "object":
            required = schema.get("required", [])
            given = schema.get("properties", {}).items()
            return {name: self.value(one) for name, one in given if name in required or self.chance.random() < 0.5}
        return DATES.get(schema.get("format", "")) or PLAIN.get(schema.get("type", "null"))

    def request(self, path: str, operation: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The path and the further arguments of TestClient.request."""
        query: dict[str, str] = {}
        headers = {"Content-Type": "application/json"}
        for parameter in operation.get("parameters", []):
            word = str(self.value(parameter["schema"])).encode("utf-8", "replace").decode()
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(word or "0", safe=""))
            elif self.chance.random() < 0.5 and parameter["in"] == "query":
                query[parameter["name"]] = word
            elif self.chance.random() < 0.2 and parameter["in"] == "header" and word.isascii() and word.isprintable():
                headers[parameter["name"]] = word
        arguments: dict[str, Any] = {"params": query, "headers": headers}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            arguments["content"] = json.dumps(self.value(content["schema"]))
        return path, arguments


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_nothing_that_is_sent_breaks_an_operation(
    open_app: Callable[..., TestClient], engine: Engine, post_id: int, name: str
) -> None:
    admin = open_app(name, "admin")
    schema = admin.get("/openapi.json").json()
    caller = Caller(schema, random.Random(2026))
    accepted = set()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            for _ in range(ROUNDS):
                target, arguments = caller.request(path, operation)
                answer = admin.request(method, target, **arguments)
                sent = (method, target, arguments)
                assert answer.status_code < 500 or path == "/readyz", (sent, answer.text)
                if answer.status_code < 400:
                    accepted.add((method, path))
                elif target != "/":
                    assert answer.headers["content-type"] == "application/problem+json", sent
    assert len(accepted) > 3  # what is sent is not all nonsense
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM posts WHERE id = :id"), {"id": post_id}).scalar_one() == 1
