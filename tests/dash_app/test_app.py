from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

import dash_app

ROOM = Path(dash_app.__file__).parent
SOURCES = sorted(str(path.relative_to(ROOM)) for path in ROOM.rglob("*.py"))


@pytest.fixture
def client(engine: Engine, serve: Callable[..., str]) -> httpx.Client:
    return httpx.Client(base_url=serve(engine), timeout=30)


def test_it_is_alive_without_asking_the_database(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200


def test_no_python_source_is_served(client: httpx.Client) -> None:
    assert "app.py" in SOURCES
    for source in SOURCES:
        assert client.get(f"/assets/{source}").status_code == 404
        assert "import" not in client.get(f"/{source}").text
    for path in ("/assets/../app.py", "/assets/%2e%2e/app.py", "/assets/..%2fapp.py"):
        assert "create_app" not in client.get(path).text
    assert not list((ROOM / "static").rglob("*.py"))


@pytest.mark.parametrize("path", ["/", "/achievements", "/assets/dashboard.css", "/livez", "/achievements.csv"])
def test_every_answer_tells_the_browser_what_is_allowed(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/=]+'", policy["script-src"])
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_the_page_names_no_other_host(client: httpx.Client) -> None:
    page = client.get("/achievements").text
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']*""", page)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_no_api_browser_is_offered(client: httpx.Client, path: str) -> None:
    text = client.get(path).text
    assert "swagger" not in text
    assert "redoc" not in text
    assert '"openapi"' not in text


def test_a_name_that_is_not_this_machine_is_refused(client: httpx.Client) -> None:
    assert client.get("/", headers={"Host": "attacker.example"}).status_code == 400


def test_the_process_serves_and_ends_on_sigterm(database_url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": database_url, "THREADS_AGENT_DASH_PORT": "0"}
    process = subprocess.Popen([sys.executable, "-m", "dash_app"], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"running on (http://\S+)", line):
            assert httpx.get(f"{found[1]}/livez", timeout=30).status_code == 200
            process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in "".join(said)
    assert "development server" not in "".join(said)


def test_without_a_database_url_it_says_which_variable_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, "-m", "dash_app"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL is not set")
