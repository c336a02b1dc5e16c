"""GitHub on a real socket, with a client that does not sleep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.github_server import TOKEN, GitHubServer, running
from threads_agent_dagster.clients.github import Clock, GitHub


@pytest.fixture
def github_server() -> Iterator[tuple[GitHubServer, str]]:
    with running() as found:
        yield found


@pytest.fixture
def server(github_server: tuple[GitHubServer, str]) -> GitHubServer:
    return github_server[0]


@pytest.fixture
def github(github_server: tuple[GitHubServer, str]) -> Iterator[GitHub]:
    with GitHub(github_server[1], TOKEN, patience=0, clock=Clock(sleep=lambda _: None)) as client:
        yield client
