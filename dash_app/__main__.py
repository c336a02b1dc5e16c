"""Serves the dashboard: `python -m dash_app`."""

from __future__ import annotations

import sys

import uvicorn

from dash_app.app import create_app
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.errors import ConfigurationError
from threads_agent_dagster.settings import Settings

DRAIN_SECONDS = 5  # for answers under way when SIGTERM arrives


def main() -> int:
    settings = Settings()
    if settings.database_url is None:
        raise ConfigurationError(
            "DATABASE_URL is not set; the dashboard reads PostgreSQL, `threads-agent up` brings one"
        )
    engine = make_engine(settings.database_url.get_secret_value(), application="dash")
    uvicorn.run(
        create_app(settings, engine).server,
        host=settings.host,
        port=settings.dash_port,
        log_level=settings.log_level.lower(),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    engine.dispose()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigurationError as error:
        sys.exit(str(error))
