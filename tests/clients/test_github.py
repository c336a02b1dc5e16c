"""The client against a GitHub on a real socket: what it asks, how it waits, and what it never does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.github_server import START, TOKEN, Answer, GitHubServer, Pull, running
from threads_agent_dagster.clients.github import Clock, GitHub, RateLimited, from_settings, repository_of
from threads_agent_dagster.errors import (
    ConfigurationError,
    Forbidden,
    InvalidInput,
    NotFound,
    PermanentFailure,
    Unauthorized,
    Unavailable,
)
from threads_agent_dagster.settings import Settings

REPOSITORY = "acme/shop"
PULLS = "GET /repos/{owner}/{repo}/pulls"


@dataclass
class Hands:
    """A clock that is moved by sleeping."""

    at: float = 1_000_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(self.sleep, lambda: self.at)


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def server() -> Iterator[tuple[GitHubServer, str]]:
    with running() as found:
        found[0].add(REPOSITORY, *(Pull(number, f"feat: {number}") for number in range(1, 6)))
        yield found


@pytest.fixture
def state(server: tuple[GitHubServer, str]) -> GitHubServer:
    return server[0]


@pytest.fixture
def github(server: tuple[GitHubServer, str], hands: Hands) -> Iterator[GitHub]:
    with GitHub(server[1], TOKEN, patience=120, clock=hands.clock) as client:
        yield client


def _numbers(github: GitHub, etag: str | None = None) -> list[int]:
    return [one["number"] for page in github.closed_pull_requests(REPOSITORY, etag).pages for one in page]


def test_every_page_is_asked_for_as_github_describes_it(github: GitHub, state: GitHubServer) -> None:
    """250 in three pages of 100; the server refuses a header or parameter that GitHub does not describe."""
    state.add(REPOSITORY, *(Pull(number, "feat: more") for number in range(6, 251)))
    assert sorted(_numbers(github)) == list(range(1, 251))
    assert state.asked[PULLS] == 3
    assert state.refused == []


def test_the_last_updated_comes_first(github: GitHub, state: GitHubServer) -> None:
    state.add(REPOSITORY, Pull(9, "fix: old", at=START - timedelta(days=9), updated=START + timedelta(days=1)))
    assert _numbers(github)[0] == 9


def test_an_unchanged_list_costs_nothing(github: GitHub, state: GitHubServer) -> None:
    first = github.closed_pull_requests(REPOSITORY, None)
    before = state.remaining
    again = github.closed_pull_requests(REPOSITORY, first.etag)
    assert again.unchanged
    assert list(again.pages) == []
    assert state.remaining == before
    state.add(REPOSITORY, Pull(9, "fix: new"))
    assert not github.closed_pull_requests(REPOSITORY, first.etag).unchanged


def test_a_pull_request_comes_with_files_reviews_and_commits(github: GitHub, state: GitHubServer) -> None:
    files = [(f"src/{number}.py", 1, 0) for number in range(230)]
    state.add(REPOSITORY, Pull(9, "feat: wide", files=files, reviewers=["grace"]))
    assert github.pull_request(REPOSITORY, 9)["title"] == "feat: wide"
    assert [one["filename"] for one in github.files(REPOSITORY, 9)] == [path for path, _, _ in files]
    assert [one["user"]["login"] for one in github.reviews(REPOSITORY, 9)] == ["grace"]
    assert [one["commit"]["author"]["email"] for one in github.commits(REPOSITORY, 9)] == ["ada@example.org"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, body=b"<html>Bad Gateway</html>"),
        Answer(503, body={"message": "Service Unavailable"}),
        Answer(200, body=[{"number": 1}] * 500, torn=True),
        Answer(200, body=b"[{"),
    ],
    ids=["502", "503", "torn", "half a body"],
)
def test_what_passes_is_tried_again(github: GitHub, state: GitHubServer, hands: Hands, answer: Answer) -> None:
    state.instead.append(answer)
    assert len(_numbers(github)) == 5
    assert len(hands.slept) == 1


def test_what_does_not_pass_is_given_up_after_four_attempts(github: GitHub, state: GitHubServer, hands: Hands) -> None:
    state.instead.extend([Answer(500, body={"message": "Server Error"})] * 4)
    with pytest.raises(Unavailable, match="500: Server Error"):
        _numbers(github)
    assert hands.slept == sorted(hands.slept)
    assert len(hands.slept) == 3


def test_a_server_that_is_not_there_is_unavailable(hands: Hands) -> None:
    with (
        GitHub("http://127.0.0.1:9", TOKEN, 0, hands.clock) as github,
        pytest.raises(Unavailable, match="does not ans"),
    ):
        github.full_name(REPOSITORY)


def test_the_primary_limit_is_waited_for_and_not_run_into(github: GitHub, state: GitHubServer, hands: Hands) -> None:
    """Once the last request of the hour is spent, the next waits for the reset instead of being refused."""
    state.remaining, state.reset = 1, int(hands.at) + 90

    def refill(_: str) -> None:
        if hands.at > state.reset:
            state.remaining = 5000

    state.before = refill
    assert github.pull_request(REPOSITORY, 1)["number"] == 1
    assert github.pull_request(REPOSITORY, 2)["number"] == 2
    assert hands.slept == [91.0]


@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_is_waited_for_as_long_as_github_says(
    github: GitHub, state: GitHubServer, hands: Hands, status: int
) -> None:
    message = {"message": "You have exceeded a secondary rate limit."}
    state.instead.extend([Answer(status, {"Retry-After": "7"}, message), Answer(status, body=message)])
    assert len(_numbers(github)) == 5
    assert hands.slept == [7.0, 60.0], "a minute where GitHub names no time"


def test_longer_than_the_patience_is_not_waited(github: GitHub, state: GitHubServer, hands: Hands) -> None:
    state.instead.append(Answer(429, {"Retry-After": "3600"}, {"message": "You have exceeded a secondary rate limit."}))
    with pytest.raises(RateLimited, match=r"spent until \d\d:\d\d:\d\d UTC"):
        _numbers(github)
    assert hands.slept == []


@pytest.mark.parametrize(
    ("status", "failure", "said"),
    [
        (401, Unauthorized, "GITHUB_TOKEN is not valid"),
        (403, Forbidden, "lacks a permission"),
        (404, NotFound, "may not see it"),
        (422, InvalidInput, "no good"),
        (418, PermanentFailure, "418"),
    ],
)
def test_a_refusal_names_the_remedy(
    github: GitHub, state: GitHubServer, status: int, failure: type[Exception], said: str
) -> None:
    state.instead.append(Answer(status, body={"message": "no", "errors": [{"message": "no good"}]}))
    with pytest.raises(failure, match=said):
        github.full_name(REPOSITORY)


def test_a_wrong_token_is_never_shown(server: tuple[GitHubServer, str], hands: Hands) -> None:
    with GitHub(server[1], "ghp_wrong", 0, hands.clock) as github, pytest.raises(Unauthorized) as caught:
        github.full_name(REPOSITORY)
    assert "ghp_wrong" not in str(caught.value)
    assert "ghp_wrong" not in repr(github)


def test_a_renamed_repository_is_found(github: GitHub, state: GitHubServer) -> None:
    state.renamed["acme/store"] = REPOSITORY
    assert github.full_name("acme/store") == REPOSITORY


def test_the_token_goes_to_no_other_host(github: GitHub, state: GitHubServer) -> None:
    elsewhere = {"Link": '<https://evil.example/pulls?page=2>; rel="next"'}
    state.instead.append(Answer(200, elsewhere, [{"number": 1}]))
    with pytest.raises(PermanentFailure, match="another host"):
        _numbers(github)


def test_an_answer_of_another_shape_is_an_error(github: GitHub, state: GitHubServer) -> None:
    state.instead.append(Answer(200, body={"message": "hello"}))
    with pytest.raises(PermanentFailure, match="no list"):
        _numbers(github)


def test_what_writes_is_sent_once(github: GitHub, state: GitHubServer) -> None:
    state.instead.append(Answer(502, body={"message": "Bad Gateway"}))
    with pytest.raises(Unavailable):
        github.create_hook(REPOSITORY, "https://me.example/webhooks/github", "s3cret", ["push"])
    assert state.hooks == {}
    hook = github.create_hook(REPOSITORY, "https://me.example/webhooks/github", "s3cret", ["push"])
    assert list(state.hooks) == [hook["id"]]
    assert state.refused == []


def test_without_a_token_the_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="GITHUB_TOKEN"):
        from_settings(Settings(github_token=None), 0)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("acme/shop", "acme/shop"),
        ("https://github.com/acme/shop", "acme/shop"),
        ("https://github.com/acme/shop.git", "acme/shop"),
        ("git@github.com:acme/shop.git", "acme/shop"),
        (" acme/my.shop_2 ", "acme/my.shop_2"),
    ],
)
def test_a_repository_is_known_by_name_or_address(text: str, name: str) -> None:
    assert repository_of(text) == name


@pytest.mark.parametrize("text", ["shop", "acme/", "acme/shop/pulls", "acme/..", "acme/sh op", "a?b/c", ""])
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape("OWNER/NAME")):
        repository_of(text)
