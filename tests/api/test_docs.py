"""The page that describes an API: open, complete without any other server, and of strict policy."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from threads_agent_dagster.api.apps import ROUTERS


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_the_page_and_all_that_it_loads_come_from_here_and_need_no_key(
    open_app: Callable[..., TestClient], name: str
) -> None:
    anybody = open_app(name, role=None)
    page = anybody.get("/docs")
    parts = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(parts) == 4
    for part in [*parts, "openapi.json"]:
        answer = anybody.get(f"/{part}")
        assert answer.status_code == 200, part
        assert answer.content
    assert "SwaggerUIBundle(" in anybody.get("/docs/start.js").text
    assert "SwaggerUIBundle" in anybody.get("/docs/swagger-ui-bundle.js").text


def test_no_script_but_ours_may_run(open_app: Callable[..., TestClient]) -> None:
    page = open_app(role=None).get("/docs")
    directives = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == "'self'"
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page.text) == ["", ""]


def test_only_these_files_are_served(client: TestClient) -> None:
    for name in ("redoc.standalone.js", "..%2Fcore.py", "%2e%2e/core.py"):
        assert client.get(f"/docs/{name}").status_code == 404, name
