"""The three apps: which nouns each serves, over one set of dependencies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from threads_agent_dagster.api import (
    achievements,
    analytics,
    dead_letters,
    docs,
    emotions,
    engagement,
    events,
    experiments,
    health,
    hooks,
    identities,
    inbox,
    metrics,
    portfolio,
    posts,
    problems,
    tasks,
    telemetry,
    variants,
)
from threads_agent_dagster.api.caching import Cache
from threads_agent_dagster.api.security import LimitBody, LimitLoad, RequireKey
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.errors import ConfigurationError
from threads_agent_dagster.settings import Settings

MAX_BODY_BYTES = 25 * 1024 * 1024  # GitHub's own limit
MAX_HELD_BYTES = 256 * 1024 * 1024  # of all bodies under way
MAX_REQUESTS = 1000  # under way in one app; deliveries that are held while PostgreSQL restarts count
POOL_SIZE = 10
DESCRIPTION = (
    "Every operation needs an API key: `Authorization: Bearer ta_…` or `X-API-Key: ta_…`. "
    "What fails is answered as problem details (RFC 9457)."
)

ROUTERS: Mapping[str, Sequence[APIRouter]] = {
    "orchestrator": (
        tasks.router,
        inbox.router,
        posts.router,
        emotions.router,
        engagement.router,
        metrics.router,
        events.router,
        dead_letters.router,
    ),
    "achievements": (achievements.router, portfolio.router, analytics.router, identities.router, inbox.router),
    "prompts": (variants.router, experiments.router, hooks.router),
}


def create_app(name: str, settings: Settings) -> FastAPI:
    """The app `orchestrator`, `achievements` or `prompts`; it connects to nothing before its lifespan begins."""
    if settings.database_url is None:
        raise ConfigurationError("the API needs a database: set DATABASE_URL, or start it with threads-agent up")
    app = FastAPI(
        title=name,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.telemetry = telemetry.Telemetry()
    app.state.feed = events.Feed()
    for router in (health.router, docs.router, *ROUTERS[name]):
        app.include_router(router)
    app.add_api_route("/metrics", telemetry.metrics, tags=["health"], response_model=None)
    problems.install(app)
    app.add_middleware(LimitBody, limit=MAX_BODY_BYTES)
    app.add_middleware(RequireKey)
    app.add_middleware(LimitLoad, requests=MAX_REQUESTS, held=MAX_HELD_BYTES)
    app.add_middleware(telemetry.Observe, telemetry=app.state.telemetry)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    assert settings.database_url is not None  # create_app refused otherwise
    app.state.engine = make_engine(
        settings.database_url.get_secret_value(), pool_size=POOL_SIZE, application=f"threads-agent-{app.title}"
    )
    app.state.cache = Cache(settings.database_url.get_secret_value())
    app.state.telemetry.registry.register(telemetry.DatabaseFigures(app.state.engine))
    try:
        yield
    finally:
        app.state.cache.close()
        app.state.engine.dispose()
