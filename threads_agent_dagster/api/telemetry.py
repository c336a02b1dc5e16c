"""Request metrics, the figures that a scrape reads, and the headers that every answer carries."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy import Connection, Engine
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threads_agent_dagster.api.problems import DATABASE_DOWN
from threads_agent_dagster.db import telemetry as db

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
QUEUE_GAUGES = (
    ("pending_rows", "Rows of the queue that are not done and not dead", "waiting"),
    ("pending_claimed_rows", "Rows of the queue under a valid lease", "claimed"),
    ("pending_dead_rows", "Rows of the queue that were given up", "dead"),
)
IMPACT_BOUNDS = (0, 10, 25, 50, 75, 90, 100)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Telemetry:
    """The metrics of one app; `http_*` count requests by the route's template, never by the path that was asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests_total", "HTTP requests", ["method", "endpoint", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds", "HTTP request latency", ["method", "endpoint"], registry=self.registry
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        endpoint = getattr(scope.get("route"), "path", "none")
        self.requests.labels(method, endpoint, str(status)).inc()
        self.seconds.labels(method, endpoint).observe(seconds)


class DatabaseFigures:
    """Reads the database when it is scraped. `database_up` is 0, and the rest absent, when it cannot be read."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("database_up", "1 if PostgreSQL answers")
        try:
            with self.engine.connect() as connection:
                found = [*_queue(connection), *_business(connection)]
        except DATABASE_DOWN:
            found = []
        up.add_metric([], 1 if found else 0)
        yield from (up, *found)


def _queue(connection: Connection) -> Iterator[Metric]:
    depths = db.depths(connection)
    for name, description, column in QUEUE_GAUGES:
        family = GaugeMetricFamily(name, description, labels=["asset"])
        for depth in depths:
            family.add_metric([depth.asset], getattr(depth, column))
        yield family


def _business(connection: Connection) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "active_users", "API keys used within the last 15 minutes", value=db.active_keys(connection)
    )
    content = CounterMetricFamily("content_generated", "Content pieces generated", labels=["persona", "type"])
    for one in db.generated(connection):
        content.add_metric([one.persona, "post"], one.posts)
    yield content
    counts, total = db.impact_histogram(connection, IMPACT_BOUNDS)
    buckets = [(str(float(bound)), count) for bound, count in zip(IMPACT_BOUNDS, counts, strict=True)]
    yield HistogramMetricFamily(
        "achievement_impact_score",
        "Achievement impact score distribution",
        buckets=[*buckets, ("+Inf", counts[-1])],
        sum_value=total,
    )


class Observe:
    """Counts and times every request, and adds the security headers."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.telemetry.observe(scope, status, time.perf_counter() - started)


def _add_headers(message: Message) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)


def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    telemetry: Telemetry = request.app.state.telemetry
    return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)
