"""A GitHub REST API on a real socket, for tests: strict about what it is asked, and made to fail on demand.

Operations, their query parameters, bodies, schemas and examples are those that GitHub publishes
(`clients/github_rest.json`, reduced from @octokit/openapi). Every answer is built from an example and checked against
its schema before it is sent; what is asked is refused when GitHub's description does not have it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jsonschema

CONTRACT: dict[str, Any] = json.loads((Path(__file__).parent / "clients" / "github_rest.json").read_text())
TOKEN = "ghp_a-token-of-nobody"
START = datetime(2026, 1, 1, tzinfo=UTC)
Json = Any


def _schema(schema: Json) -> Json:
    return {**schema, "components": CONTRACT["components"]}


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(
        re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path).replace(r"\{", "\\{").replace(r"\}", "\\}"))
    )


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Answer:
    """What the server sends instead of the truth, once."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Json = None
    torn: bool = False


@dataclass
class Pull:
    """A pull request as the tests need it; the rest comes from GitHub's example."""

    number: int
    title: str
    login: str | None = "ada"
    merged: bool = True
    at: datetime = START
    body: str | None = None
    files: list[tuple[str, int, int]] = field(default_factory=lambda: [("src/app.py", 10, 2)])
    reviewers: list[str] = field(default_factory=list)
    commits: list[tuple[str, str, str | None]] = field(default_factory=lambda: [("Ada", "ada@example.org", "ada")])
    kind: str = "User"
    labels: list[str] = field(default_factory=list)
    from_deleted_fork: bool = False
    updated: datetime | None = None

    def sha(self, repository: str) -> str:
        return hashlib.sha1(f"{repository}:{self.number}".encode()).hexdigest()


class GitHubServer:
    """Repositories with pull requests, hooks and deliveries; `asked` counts the answered requests by operation."""

    def __init__(self) -> None:
        self.pulls: dict[str, list[Pull]] = {}
        self.renamed: dict[str, str] = {}
        self.hooks: dict[int, Json] = {}
        self.deliveries: list[Json] = []
        self.asked: Counter[str] = Counter()
        self.refused: list[str] = []
        self.instead: deque[Answer] = deque()
        self.before: Callable[[str], None] = lambda _: None
        self.remaining = 5000
        self.reset = 0
        self.deliver: Callable[[Json], int] = lambda _: 202
        self._lock = threading.Lock()

    # --- state ----------------------------------------------------------------------------------------------------

    def add(self, repository: str, *pulls: Pull) -> None:
        self.pulls.setdefault(repository, []).extend(pulls)

    def add_delivery(self, hook_id: int, guid: str, at: datetime, status_code: int, **changes: Json) -> Json:
        example = CONTRACT["operations"]["GET /repos/{owner}/{repo}/hooks/{hook_id}/deliveries"]["example"][0]
        status = "OK" if status_code < 300 else "Invalid HTTP Response: 502"
        known = {"id": 1000 + len(self.deliveries), "guid": guid, "delivered_at": iso(at), "status_code": status_code}
        one = {**example, **known, "status": status, "event": "pull_request", "action": "closed", **changes}
        self.deliveries.insert(0, {**one, "hook": hook_id})
        return one

    # --- answers --------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            parts = urlsplit(target)
            operation, found = self._operation(method, parts.path)
            if (wrong := self._wrong_headers(headers)) is not None:
                return wrong
            if operation is None:
                return self._refuse(404, f"no operation {method} {parts.path}")
            self.before(operation)
            if self.instead:
                return self.instead.popleft()
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            if (wrong := self._wrong_question(operation, query, body)) is not None:
                return wrong
            self.asked[operation] += 1
            return self._checked(operation, found, query, body, headers, target)

    @staticmethod
    def _operation(method: str, path: str) -> tuple[str | None, dict[str, str]]:
        for name in CONTRACT["operations"]:
            verb, _, template = name.partition(" ")
            expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
            if verb == method and (found := re.fullmatch(expression, path)):
                return name, found.groupdict()
        return None, {}

    def _wrong_headers(self, headers: dict[str, str]) -> Answer | None:
        if not headers.get("user-agent"):
            return self._refuse(403, "Request forbidden by administrative rules: no User-Agent")
        if headers.get("accept") != "application/vnd.github+json":
            return self._refuse(415, f"Accept is {headers.get('accept')!r}")
        if headers.get("x-github-api-version") != "2022-11-28":
            return self._refuse(400, f"X-GitHub-Api-Version is {headers.get('x-github-api-version')!r}")
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, body={"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"})
        return None

    def _wrong_question(self, operation: str, query: dict[str, str], body: bytes) -> Answer | None:
        described = CONTRACT["operations"][operation]
        for name, value in query.items():
            if name not in described["query"]:
                return self._refuse(422, f"{operation} has no query parameter {name}")
            schema = described["query"][name]
            given: Json = int(value) if schema["type"] == "integer" else value
            if not jsonschema.Draft202012Validator(_schema(schema)).is_valid(given):
                return self._refuse(422, f"{name}={value} is not what {operation} describes")
        if int(query.get("per_page", "1")) > 100:
            return self._refuse(422, "per_page is at most 100")
        if "body" in described:
            errors = list(jsonschema.Draft202012Validator(_schema(described["body"])).iter_errors(json.loads(body)))
            if errors:
                return self._refuse(422, str(errors[0].message))
        elif body:
            return self._refuse(400, f"{operation} has no body")
        return None

    def _refuse(self, status: int, why: str) -> Answer:
        self.refused.append(why)
        return Answer(status, body={"message": why, "documentation_url": "https://docs.github.com/rest"})

    def _checked(
        self,
        operation: str,
        path: dict[str, str],
        query: dict[str, str],
        body: bytes,
        headers: dict[str, str],
        target: str,
    ) -> Answer:
        if self.remaining <= 0:
            limited = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(self.reset)}
            return Answer(403, limited, {"message": "API rate limit exceeded for user ID 1."})
        self.remaining -= 1
        budget = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": str(self.remaining)}
        budget["X-RateLimit-Reset"] = str(self.reset)
        described = CONTRACT["operations"][operation]
        try:
            answer, more = self._truth(operation, path, query, json.loads(body) if body else None)
        except LookupError:
            return Answer(404, budget, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})
        if isinstance(answer, Answer):
            return answer
        if "schema" in described:
            self._validate(described["schema"], answer)
        if described["status"] in (202, 204):
            return Answer(described["status"], budget)
        etag = f'W/"{hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()}"'
        if operation.startswith("GET") and headers.get("if-none-match") == etag:
            self.remaining += 1  # a 304 does not count
            return Answer(304, {**budget, "ETag": etag})
        link = self._link(target, query, more)
        return Answer(described["status"], {**budget, "ETag": etag, **link}, answer)

    @staticmethod
    def _validate(schema: Json, answer: Json) -> None:
        """The first two of a list stand for the rest. GitHub sends null for what is deleted, against its word."""
        shown = copy.deepcopy(answer[:2] if isinstance(answer, list) else answer)
        for one in shown if isinstance(shown, list) else [shown]:
            if "head" in one:
                one["head"]["repo"] = one["head"]["repo"] or one["base"]["repo"]
                one["user"] = one["user"] or one["base"]["user"]
        jsonschema.Draft202012Validator(_schema(schema)).validate(shown)

    @staticmethod
    def _link(target: str, query: dict[str, str], more: dict[str, str] | None) -> dict[str, str]:
        if more is None:
            return {}
        following = f"{{base}}{urlsplit(target).path}?{urlencode({**query, **more})}"
        return {"Link": f'<{following}>; rel="next", <{following}>; rel="last"'}

    def _truth(
        self, operation: str, path: dict[str, str], query: dict[str, str], body: Json
    ) -> tuple[Json, dict[str, str] | None]:
        verb, _, template = operation.partition(" ")
        if template == "/user":
            return {**CONTRACT["operations"][operation]["example"], "login": "ada"}, None
        repository = f"{path['owner']}/{path['repo']}"
        if repository in self.renamed:
            return Answer(301, {"Location": "{base}/repos/" + self.renamed[repository]}, {"message": "Moved"}), None
        repository = (
            next(name for name in self.pulls if name.lower() == repository.lower())
            if any(name.lower() == repository.lower() for name in self.pulls)
            else self._lost(repository)
        )
        if "/hooks" in template:
            return self._hook_truth(operation, verb, path, query, body)
        if template == "/repos/{owner}/{repo}":
            example = CONTRACT["operations"][operation]["example"]
            source = {**example["source"], "language": None}  # GitHub's example lacks it, its schema demands it
            return {**example, "language": None, "source": source, "full_name": repository}, None
        if template.endswith("/pulls"):
            return self._page(self._list(repository, query), query)
        pull = next(
            one for one in [*self.pulls[repository], None] if one is None or str(one.number) == path["pull_number"]
        )
        if pull is None:
            raise LookupError
        if template.endswith("{pull_number}"):
            return self._detail(repository, pull), None
        rows = {"files": self._files, "reviews": self._reviews, "commits": self._commits}[template.rpartition("/")[2]]
        return self._page(rows(pull), query)

    @staticmethod
    def _lost(repository: str) -> str:
        raise LookupError(repository)

    @staticmethod
    def _page(rows: list[Json], query: dict[str, str]) -> tuple[Json, dict[str, str] | None]:
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        shown = rows[(page - 1) * size : page * size]
        return shown, ({"page": str(page + 1)} if len(rows) > page * size else None)

    def _list(self, repository: str, query: dict[str, str]) -> list[Json]:
        assert query["state"] == "closed"
        pulls = sorted(self.pulls[repository], key=lambda one: one.updated or one.at)
        if query["direction"] == "desc":
            pulls.reverse()
        return [self._simple(repository, one) for one in pulls]

    def _common(self, operation: str, repository: str, pull: Pull) -> Json:
        one: Json = copy.deepcopy(CONTRACT["operations"][operation]["example"])
        one = one[0] if isinstance(one, list) else one
        user = None if pull.login is None else {**one["user"], "login": pull.login, "type": pull.kind}
        label = one["labels"][0]
        one |= {
            "number": pull.number,
            "title": pull.title,
            "body": pull.body,
            "user": user,
            "state": "closed",
            "created_at": iso(pull.at - timedelta(days=1)),
            "updated_at": iso(pull.updated or pull.at),
            "closed_at": iso(pull.at),
            "merged_at": iso(pull.at) if pull.merged else None,
            "merge_commit_sha": pull.sha(repository),
            "html_url": f"https://github.com/{repository}/pull/{pull.number}",
            "labels": [{**label, "name": name} for name in pull.labels],
            "requested_reviewers": [],
            "requested_teams": [],
        }
        one["base"]["repo"]["full_name"] = repository
        if pull.from_deleted_fork:
            one["head"]["repo"] = None
        return one

    def _simple(self, repository: str, pull: Pull) -> Json:
        return self._common("GET /repos/{owner}/{repo}/pulls", repository, pull)

    def _detail(self, repository: str, pull: Pull) -> Json:
        one = self._common("GET /repos/{owner}/{repo}/pulls/{pull_number}", repository, pull)
        return one | {
            "merged": pull.merged,
            "additions": sum(added for _, added, _ in pull.files),
            "deletions": sum(removed for _, _, removed in pull.files),
            "changed_files": len(pull.files),
            "commits": len(pull.commits),
            "comments": 1,
            "review_comments": 2,
            "merged_by": None,
        }

    @staticmethod
    def _files(pull: Pull) -> list[Json]:
        example = CONTRACT["operations"]["GET /repos/{owner}/{repo}/pulls/{pull_number}/files"]["example"][0]
        return [
            {**example, "filename": path, "additions": added, "deletions": removed, "changes": added + removed}
            for path, added, removed in pull.files
        ]

    @staticmethod
    def _reviews(pull: Pull) -> list[Json]:
        example = CONTRACT["operations"]["GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews"]["example"][0]
        bot = {"type": "Bot"}
        return [
            {**example, "user": {**example["user"], "login": login, **(bot if login.endswith("[bot]") else {})}}
            for login in pull.reviewers
        ]

    @staticmethod
    def _commits(pull: Pull) -> list[Json]:
        example = CONTRACT["operations"]["GET /repos/{owner}/{repo}/pulls/{pull_number}/commits"]["example"][0]
        rows = []
        for name, email, login in pull.commits:
            one = copy.deepcopy(example)
            one["commit"]["author"] = {"name": name, "email": email, "date": iso(pull.at - timedelta(days=2))}
            one["author"] = None if login is None else {**one["author"], "login": login}
            rows.append(one)
        return rows

    # --- hooks ----------------------------------------------------------------------------------------------------

    def _hook_truth(
        self, operation: str, verb: str, path: dict[str, str], query: dict[str, str], body: Json
    ) -> tuple[Json, dict[str, str] | None]:
        template = operation.partition(" ")[2]
        if template.endswith("/hooks"):
            return (self._new_hook(body), None) if verb == "POST" else self._page(list(self.hooks.values()), query)
        hook_id = int(path["hook_id"])
        if hook_id not in self.hooks:
            raise LookupError(hook_id)
        if template.endswith("/deliveries"):
            return self._delivery_page(hook_id, query)
        if template.endswith("/attempts"):
            return self._redeliver(hook_id, int(path["delivery_id"]))
        if verb == "DELETE":
            return self.hooks.pop(hook_id), None
        if verb == "PATCH":
            self.hooks[hook_id] |= {"events": body["events"], "config": _masked(body["config"])}
        return self.hooks[hook_id], None

    def _new_hook(self, body: Json) -> Json:
        assert body["config"]["secret"]
        if any(one["config"]["url"] == body["config"]["url"] for one in self.hooks.values()):
            return Answer(422, body={"message": "Validation Failed", "errors": [{"message": "Hook already exists"}]})
        example = CONTRACT["operations"]["POST /repos/{owner}/{repo}/hooks"]["example"]
        hook_id = 100 + len(self.hooks)
        self.hooks[hook_id] = {
            **example, "id": hook_id, "events": body["events"], "config": _masked(body["config"]),
        }  # fmt: skip
        return self.hooks[hook_id]

    def _delivery_page(self, hook_id: int, query: dict[str, str]) -> tuple[Json, dict[str, str] | None]:
        mine = [{k: v for k, v in one.items() if k != "hook"} for one in self.deliveries if one["hook"] == hook_id]
        start = int(query.get("cursor", 0))
        size = int(query.get("per_page", 30))
        more = {"cursor": str(start + size)} if len(mine) > start + size else None
        return mine[start : start + size], more

    def _redeliver(self, hook_id: int, delivery_id: int) -> tuple[Json, dict[str, str] | None]:
        first = next((one for one in self.deliveries if one["id"] == delivery_id), None)
        if first is None:
            raise LookupError(delivery_id)
        self.add_delivery(hook_id, first["guid"], datetime.now(UTC), self.deliver(first), redelivery=True)
        return {}, None


def _masked(config: Json) -> Json:
    return {**config, "secret": "********"}


@contextmanager
def running() -> Iterator[tuple[GitHubServer, str]]:
    """The server and its base URL, until the block ends."""
    state = GitHubServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = state.answer(self.command, self.path, headers, body)
            self._send(answer)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle

        def _send(self, answer: Answer) -> None:
            payload = b"" if answer.body is None else json.dumps(answer.body).encode()
            if isinstance(answer.body, bytes):
                payload = answer.body
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value.replace("{base}", base))
            self.send_header("Content-Type", "application/json; charset=utf-8")
            if answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if answer.torn:
                self.wfile.write(payload[: len(payload) // 2])
                self.close_connection = True
            elif answer.status not in (204, 304):
                self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            """Nothing: tests print what they need."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state, base
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
