"""The platform as people get it: `threads-agent up --demo`, its processes, its ports, its database."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import psutil
import pytest
from sqlalchemy import Engine, text

from tests.receiver import Receiver
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.local import dagster_home

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).parent.parent.parent
SECRET = "a webhook secret of this test"
FIVE = ("posts", "emotion_trajectories", "achievements", "variant_performance", "dashboard_metrics")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Found = TypeVar("Found")


@dataclass
class Up:
    """A running platform: its process, its endpoints, an engine on its database."""

    process: subprocess.Popen[bytes]
    home: Path
    endpoints: dict[str, str]
    engine: Engine
    alerts: Receiver

    @property
    def key(self) -> str:
        return Path(self.endpoints["api_key_file"]).read_text(encoding="utf-8").strip()

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def scalar(self, statement: str, **parameters: Any) -> Any:
        return self.rows(statement, **parameters)[0][0]

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "threads_agent_dagster.cli", *arguments, "--home", str(self.home)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def command(self, *arguments: str) -> str:
        """What `threads-agent ...` answers about this platform."""
        process = self.popen(*arguments)
        answer, complaints = process.communicate(timeout=300)
        assert process.returncode == 0, complaints.decode()
        return answer.decode()

    def api(self, service: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.endpoints[service], headers={"Authorization": f"Bearer {self.key}"}, timeout=30
        )

    def graphql(self, query: str, **variables: Any) -> Any:
        answer = httpx.post(
            f"{self.endpoints['dagster']}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        answer.raise_for_status()
        return answer.json()["data"]

    def deliver(self, event: str, delivery_id: str, body: bytes, secret: str = SECRET) -> httpx.Response:
        signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return httpx.post(
            f"{self.endpoints['achievements']}/webhooks/github",
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": delivery_id,
                "X-Hub-Signature-256": signature,
            },
            timeout=30,
        )


def _until(what: str, look: Callable[[], Found], seconds: float = 180) -> Found:
    """What `look` finds once it finds something; fails naming `what`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.5)
    pytest.fail(f"after {seconds:.0f} s still waiting for {what}")


@pytest.fixture(scope="module")
def alerts() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, alerts: Receiver) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("home")
    log = home.with_suffix(".log")
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "threads_agent_dagster.cli", "up", "--demo", "--ports", "auto", "--home", str(home)],
            env=environment | {"GITHUB_WEBHOOK_SECRET": SECRET, "THREADS_AGENT_ALERT_WEBHOOK_URL": alerts.url},
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def ready() -> dict[str, str] | None:
            assert process.poll() is None, log.read_text()
            endpoints = home / "endpoints.json"
            return json.loads(endpoints.read_text()) if endpoints.exists() else None

        endpoints = _until("the platform to be ready", ready, 300)
        engine = make_engine(endpoints["database_url"])
        yield Up(process, home, endpoints, engine, alerts)
        engine.dispose()
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM ends it and everything that it started."""
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_the_demo_fills_the_five_tables(up: Up) -> None:
    for table in FIVE:
        _until(f"rows in {table}", lambda table=table: up.scalar(f"SELECT count(*) FROM {table}"))
    unmeasured = up.rows("SELECT * FROM variant_performance WHERE variant_id LIKE 'hook:%'")
    assert unmeasured
    assert {(row.impressions, row.mean_performance, row.ci_low) for row in unmeasured} == {(0, None, None)}
    first = subprocess.run(
        ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert up.scalar("SELECT count(*) FROM git_commits WHERE sha = :sha", sha=first.stdout.split()[0]) == 1


def test_every_page_and_service_answers(up: Up) -> None:
    for service in ("orchestrator", "achievements", "prompts"):
        assert httpx.get(f"{up.endpoints[service]}/livez").status_code == 200
        _until(
            f"{service} to be ready",
            lambda service=service: httpx.get(f"{up.endpoints[service]}/readyz", timeout=30).status_code == 200,
        )
    assert httpx.get(f"{up.endpoints['dagster']}/server_info").status_code == 200
    for page in ("/", "/achievements", "/experiments"):
        assert httpx.get(f"{up.endpoints['dash']}{page}", timeout=30).status_code == 200
    assert httpx.get(f"{up.endpoints['dash']}/assets/app.py").status_code == 404


def test_each_pool_has_its_limit(up: Up) -> None:
    pools = up.graphql("{ instance { concurrencyLimits { concurrencyKey limit } } }")["instance"]["concurrencyLimits"]
    assert {pool["concurrencyKey"]: pool["limit"] for pool in pools} == dagster_home.POOL_LIMITS


@pytest.mark.browser
def test_an_api_describes_itself_without_any_other_server(up: Up) -> None:
    with ThreadPoolExecutor(1) as apart:  # the browser's event loop is this thread's own
        asked, complaints = apart.submit(_open_docs, up).result()
    assert {url for url in asked if not url.startswith(up.endpoints["orchestrator"])} == set()
    assert complaints == []  # the policy stands in nothing's way


def _open_docs(up: Up) -> tuple[list[str], list[str]]:
    """What the page asked for, and what the browser complained of, until an operation can be tried."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{up.endpoints['orchestrator']}/docs")
        page.locator(".opblock-summary").first.click(timeout=120_000)
        page.get_by_role("button", name="Try it out").first.wait_for(timeout=120_000)
        browser.close()
    return asked, complaints


def test_a_task_becomes_a_post_an_arc_and_a_figure(up: Up) -> None:
    _until("the demo's figures", lambda: up.scalar("SELECT total_posts FROM dashboard_metrics"))
    with up.api("orchestrator") as api:
        body = {
            "type": "content.generation",
            "payload": {
                "topic": "The release that nearly was not",
                "original_input": "We lost a week. Everybody was afraid. Then it worked! We are so happy and proud.",
            },
            "metadata": {"priority": "high"},
        }
        answer = api.post("/task", json=body, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 202, answer.text
        again = api.post("/task", json=body, headers={"Idempotency-Key": "once"})
        assert again.json() == answer.json()
        task_id = answer.json()["id"]
        done = _until("the task", lambda: _completed(api.get(f"/tasks/{task_id}").json()))
    post = _until(
        "the arc",
        lambda: up.rows(
            "SELECT posts.*, arc.trajectory_type, arc.run_id AS arc_run FROM posts "
            "JOIN emotion_trajectories AS arc ON arc.post_id = posts.id WHERE posts.id = :id",
            id=done["result"]["post_id"],
        ),
    )[0]
    assert "The release that nearly was not" in post.hook
    assert post.trajectory_type in ("rising", "falling", "stable", "volatile")
    run = up.graphql("query($id: ID!) {runOrError(runId: $id) {... on Run {jobName}}}", id=post.arc_run)
    assert run["runOrError"]["jobName"] == "content_chain"
    _until("the figure", lambda: up.scalar("SELECT total_posts = (SELECT count(*) FROM posts) FROM dashboard_metrics"))


def _completed(task: dict[str, Any]) -> dict[str, Any] | None:
    assert task["status"] != "failed", task
    return task if task["status"] == "completed" else None


@pytest.mark.shared_data
def test_real_deliveries_arrive_once_and_merged_pull_requests_become_achievements(up: Up, shared_data: Path) -> None:
    payloads = sorted((shared_data / "github_webhooks").glob("*.json"))
    deliveries = [(path.name.partition("__")[0], path.name, path.read_bytes()) for path in payloads]
    merged = [_merged(path, number) for number, path in enumerate(_pull_requests(payloads))]
    twice = [*deliveries, *merged] * 2
    random.Random(3).shuffle(twice)
    answers = [up.deliver(event, name, body) for event, name, body in twice]
    assert {answer.status_code for answer in answers} <= {200, 202}
    forged = up.deliver(merged[0][0], "forged", merged[0][2], secret="guessed")
    assert forged.status_code == 401
    distinct = {hashlib.sha256(body).hexdigest() for _, _, body in twice}
    stored = up.scalar("SELECT count(*) FROM inbox")
    assert stored == len(distinct) == up.scalar("SELECT count(DISTINCT body_hash) FROM inbox")
    _until("the inbox to be settled", lambda: up.scalar("SELECT count(*) = 0 FROM inbox WHERE status = 'received'"))
    found = {row.source_key: row for row in up.rows("SELECT * FROM achievements WHERE source_type = 'github_pr'")}
    assert len(found) == len(merged)
    assert all(row.run_id and row.impact_score is not None and row.impact_rules for row in found.values())
    ignored = up.rows("SELECT reason FROM inbox WHERE status = 'ignored'")
    assert ignored
    assert all(row.reason for row in ignored)


def _pull_requests(payloads: list[Path]) -> list[Path]:
    return [path for path in payloads if path.name.startswith("pull_request__")]


def _merged(path: Path, number: int) -> tuple[str, str, bytes]:
    """The sample's closed pull request as GitHub sends it when it was merged."""
    payload = json.loads(path.read_text(encoding="utf-8"))
    pull = payload["pull_request"]
    pull |= {"merged": True, "merged_at": "2025-05-05T10:00:00Z", "closed_at": "2025-05-05T10:00:00Z", "draft": False}
    pull |= {"number": 9000 + number, "merge_commit_sha": f"{number:040x}", "state": "closed"}
    pull["user"]["type"] = "User"
    payload |= {"number": 9000 + number, "action": "closed"}
    return "pull_request", f"merged-{number}", json.dumps(payload).encode()


LAUNCH = """
mutation($days: [String!]!) {
  launchPartitionBackfill(backfillParams: {
    assetSelection: [{path: ["emotion_trajectories"]}], partitionNames: $days
  }) { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
}
"""
BACKFILL = "query($id: String!) {partitionBackfillOrError(backfillId: $id) {... on PartitionBackfill {status}}}"


def test_a_backfill_scores_exactly_its_days_again_in_few_runs_while_events_flow(up: Up) -> None:
    last = datetime.now(UTC).date() - timedelta(days=100)
    days = [last - timedelta(days=n) for n in range(60)]
    with up.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO posts (persona_id, hook, body, ts, original_input) SELECT 'default', 'A day', "
                "'It was good. It was bad. It ended well.', day, 'backfill' FROM unnest(cast(:days AS date[])) AS day"
            ),
            {"days": days},
        )
    arcs = (
        "SELECT arc.day, arc.code_version FROM emotion_trajectories AS arc JOIN posts ON posts.id = arc.post_id "
        "WHERE posts.original_input = 'backfill'"
    )
    _until("the first arcs", lambda: len(up.rows(arcs)) == 60)
    current = up.rows(arcs)[0].code_version
    with up.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE emotion_trajectories AS arc SET code_version = 'old' FROM posts "
                "WHERE posts.id = arc.post_id AND posts.original_input = 'backfill'"
            )
        )
    wanted = sorted(days[:30])
    launched = up.graphql(LAUNCH, days=[day.isoformat() for day in wanted])["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    with up.api("orchestrator") as api:
        task = api.post("/task", json={"type": "content.generation", "payload": {"topic": "Meanwhile"}}).json()
        _until("the event that came meanwhile", lambda: _completed(api.get(f"/tasks/{task['id']}").json()))
    _until("the backfill", lambda: _backfill_done(up, launched["backfillId"]))
    versions: dict[date, str] = {row.day: row.code_version for row in up.rows(arcs)}
    assert {day for day, version in versions.items() if version == current} == set(wanted)
    runs = up.graphql(
        "query($f: RunsFilter!) {runsOrError(filter: $f) {... on Runs {results {status}}}}",
        f={"tags": [{"key": "dagster/backfill", "value": launched["backfillId"]}]},
    )
    assert len(runs["runsOrError"]["results"]) <= 2


def _backfill_done(up: Up, backfill_id: str) -> bool:
    backfill = up.graphql(BACKFILL, id=backfill_id)["partitionBackfillOrError"]
    assert "FAILED" not in backfill["status"], backfill
    return bool(backfill["status"] == "COMPLETED_SUCCESS")


ARC = "emotion_trajectories"
HISTORY = """
WITH added AS (
    INSERT INTO posts (persona_id, hook, body, ts, original_input)
    SELECT 'default', 'Day ' || n, repeat('It was good. We were afraid of day ' || n || '. It ended well.\n\n', 4),
        timestamptz '2024-03-01 12:00Z' + n % 100 * interval '1 day', 'history'
    FROM generate_series(1, :posts) AS n RETURNING id
)
SELECT count(*) FROM added
"""
OF_HISTORY = "FROM emotion_trajectories AS arc JOIN posts ON posts.id = arc.post_id WHERE original_input = 'history'"


def test_a_backfill_is_priced_shown_in_shadow_cancelled_and_made(up: Up) -> None:
    """The whole command line, through the webserver, the run host and the queue."""
    with up.engine.begin() as connection:  # posts of 100 days that no arc was ever asked for
        connection.execute(text(HISTORY), {"posts": 2000})
        connection.execute(
            text("DELETE FROM pending USING posts WHERE key = 'post:' || id AND original_input = 'history'")
        )
    days = ["--from", "2024-03-01", "--to", "2024-12-31"]
    plan = json.loads(up.command("backfill", "plan", ARC, *days, "--json"))
    assert (plan["rows"], plan["partitions"], plan["first"], plan["last"]) == (2000, 100, "2024-03-01", "2024-06-08")
    assert plan["rows_by_version"] == [{"code_version": None, "rows": 2000}]
    assert (plan["tokens"], plan["usd"]) == (0, 0)
    assert plan["minutes"] > 0, "measured on the demo's posts"

    _cancel_in_the_middle(up, days)
    made = up.scalar(f"SELECT count(*) {OF_HISTORY}")
    assert 0 < made < 2000
    with up.engine.begin() as connection:
        connection.execute(
            text(f"DELETE FROM posts WHERE original_input = 'history' AND id NOT IN (SELECT post_id {OF_HISTORY})")
        )
        connection.execute(
            text("UPDATE emotion_trajectories SET joy_avg = 0, code_version = 'old' WHERE day < '2025-01-01'")
        )

    shown = up.command("backfill", "run", ARC, *days, "--shadow", "--yes")
    assert f"**{made:,} rows compared**: {made:,} would change" in shown
    assert "| joy_avg | 0.0% |" in shown
    assert "**trajectory_type**: 100.0% agree" in shown
    assert up.rows(f"SELECT DISTINCT arc.code_version {OF_HISTORY}") == [("old",)], "shadow writes nothing"
    assert up.scalar("SELECT count(*) FROM pending WHERE asset = :asset", asset=ARC) == 0

    told = json.loads(up.command("backfill", "run", ARC, *days, "--yes", "--json"))
    assert (told["rows"], told["status"]) == (made, "SUCCESS")
    assert up.scalar(f"SELECT count(*) {OF_HISTORY} AND arc.code_version = 'old'") == 0
    assert up.rows("SELECT rows, outcome FROM backfills WHERE id = :id", id=told["run_id"]) == [(made, "done")]
    assert json.loads(up.command("backfill", "plan", ARC, *days, "--json"))["rows"] == 0


def _cancel_in_the_middle(up: Up, days: list[str]) -> None:
    running = up.popen("backfill", "run", ARC, *days, "--yes", "--json")
    backfill = "SELECT id FROM backfills WHERE asset = :asset AND rows = 2000"
    run_id = _until("the backfill to begin", lambda: up.rows(backfill, asset=ARC))[0].id
    _until("its first rows", lambda: up.scalar(f"SELECT count(*) {OF_HISTORY}"))
    assert "the run ended as CANCELED" in up.command("backfill", "cancel", run_id)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 1
    assert re.search(rb"\n[1-9][0-9,]* of 2,000 rows\n", told), told
    assert f"run {run_id} ended as CANCELED" in told.decode()
    assert up.rows("SELECT outcome FROM backfills WHERE id = :id", id=run_id) == [("cancelled",)]
    assert up.scalar("SELECT count(*) FROM pending WHERE backfill IS NOT NULL") == 0
    assert up.scalar("SELECT count(*) FROM pending WHERE asset = :asset AND claim IS NOT NULL", asset=ARC) == 0


@pytest.mark.browser
def test_a_number_leads_to_the_run_that_made_it(up: Up) -> None:
    _until("a refresh", lambda: up.scalar("SELECT run_id FROM dashboard_metrics"))
    with ThreadPoolExecutor(1) as apart:  # the browser's event loop is this thread's own
        run_id = apart.submit(_follow_a_number, up).result()
    assert up.scalar("SELECT count(*) FROM dashboard_refreshes WHERE run_id = :id", id=run_id) >= 1


def _follow_a_number(up: Up) -> str:
    """Clicks the origin of the first figure and its run; returns the id of the run that Dagster then shows."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.goto(up.endpoints["dash"])
        run = _open_origin(page)
        run.wait_for_url(f"{up.endpoints['dagster']}/runs/**", timeout=120_000)
        run.get_by_text("dashboard_metrics").first.wait_for(timeout=120_000)
        run_id = run.url.rpartition("/")[2].partition("?")[0]
        browser.close()
    return run_id


def _open_origin(page: Page) -> Page:
    """The run's page; figures asked for just before it was opened may still close it, so it is opened again."""
    from playwright.sync_api import TimeoutError

    for _ in range(20):
        page.get_by_role("button", name="comes from").first.click()
        try:
            with page.context.expect_page(timeout=10_000) as opened:
                page.locator(".provenance a[href*='/runs/']").first.click(timeout=5_000)
        except TimeoutError:
            continue
        return opened.value
    raise AssertionError("the origin of a figure could not be followed")


def test_whoever_follows_is_told_of_a_new_post(up: Up) -> None:
    with up.api("orchestrator") as api, api.stream("GET", "/events") as stream:
        posts = (json.loads(line[6:])["data"]["total_posts"] for line in stream.iter_lines() if line[:6] == "data: ")
        before = next(posts)
        api.post("/task", json={"type": "content.generation", "payload": {"topic": "Pushed"}}).raise_for_status()
        assert next(count for count in posts if count > before)


def test_the_demo_goes_and_everything_else_stays(up: Up) -> None:
    """After the tests that look at the demo."""
    own = {table: _own(up, table) for table in ("posts", "tasks", "achievements")}
    assert own["posts"]
    command = [sys.executable, "-m", "threads_agent_dagster.cli", "demo", "remove", "--home", str(up.home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 demo imports undone" in done.stdout
    assert {table: _own(up, table) for table in own} == own
    for table in (*own, "variants", "git_commits"):
        assert up.scalar(f"SELECT count(*) FROM {table} WHERE import_id IS NOT NULL") == 0
    counted = "SELECT count(*) FROM achievements WHERE utc_day(completed_at) > utc_day(now()) - 30"
    _until("figures without it", lambda: up.scalar(f"SELECT total_achievements = ({counted}) FROM dashboard_metrics"))


def _own(up: Up, table: str) -> list[Any]:
    return up.rows(f"SELECT id FROM {table} WHERE import_id IS NULL ORDER BY id")


START = """
mutation($job: String!) {
  launchRun(executionParams: {runConfigData: {}, selector: {
    jobName: $job, repositoryName: "__repository__", repositoryLocationName: "threads_agent"
  }}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""


def test_a_run_that_fails_is_told_to_the_receiver_of_alerts(up: Up) -> None:
    with up.engine.begin() as connection:
        connection.execute(text("ALTER TABLE dashboard_refreshes RENAME TO out_of_reach"))
    try:
        started = up.graphql(START, job="metrics")["launchRun"]
        assert started["__typename"] == "LaunchRunSuccess", started
        run_id = started["run"]["runId"]
        told = _until("the alert", lambda: [one for one in up.alerts.received if run_id.encode() in one.body])
    finally:
        with up.engine.begin() as connection:
            connection.execute(text("ALTER TABLE out_of_reach RENAME TO dashboard_refreshes"))
    assert (told[0].json["type"], told[0].json["data"]["job"]) == ("run.failed", "metrics")
    assert "dashboard_refreshes" in told[0].json["data"]["error"]
    assert told[0].json["data"]["url"] == f"{up.endpoints['dagster']}/runs/{run_id}"


def test_sigterm_leaves_no_process(up: Up) -> None:
    """Last in the file: it ends the platform."""
    _end(up.process)
    assert not (up.home / "endpoints.json").exists()
    for url in (up.endpoints[service] for service in ("orchestrator", "dagster", "dash")):
        with pytest.raises(httpx.TransportError):
            httpx.get(url, timeout=2)
