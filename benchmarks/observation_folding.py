"""P8: statistics of 5 million observations; what a refresh costs after a few more, and that it reads no history."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.harness import Limit, Row, Size, wall_seconds
from threads_agent_dagster.db import migrate
from threads_agent_dagster.db.engine import make_engine
from threads_agent_dagster.local.postgres import EmbeddedPostgres
from threads_agent_dagster.work.drain import Origin, drain
from threads_agent_dagster.work.experiments import job

VARIANTS = 1_000
CHANGED = 50
BATCH = 100_000

_ADD_VARIANTS = text(
    "INSERT INTO variants (variant_id) SELECT 'v' || n FROM generate_series(0, cast(:variants AS int) - 1) AS n"
)
_OBSERVE = text("""
    INSERT INTO observations (event_id, variant_id, impressions, successes, observed_at)
    SELECT 'e' || n, 'v' || (n % cast(:variants AS int)), 10, n % 3, now()
    FROM generate_series(cast(:first AS bigint), cast(:last AS bigint)) AS n
""")
_READ = text("""
    SELECT seq_tup_read + (SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes
        WHERE relname = 'observations' AND indexrelname = 'idx_observations_variant')
    FROM pg_stat_user_tables WHERE relname = 'observations'
""")
_WRONG = text("""
    SELECT count(*) FROM variant_performance AS stored JOIN (
        SELECT variant_id, sum(impressions) AS impressions, sum(successes) AS successes FROM observations GROUP BY 1
    ) AS counted USING (variant_id)
    WHERE stored.impressions <> counted.impressions OR stored.successes <> counted.successes
""")


def run(size: Size) -> list[Row]:
    observations = 5_000_000 if size is Size.FULL else 20_000
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder), fsync=False)
        url = server.start()
        try:
            migrate.upgrade(url)
            engine = make_engine(url)
            try:
                return _measure(engine, observations)
            finally:
                engine.dispose()
        finally:
            server.remove()


def _measure(engine: Engine, observations: int) -> list[Row]:
    with engine.begin() as connection:
        connection.execute(_ADD_VARIANTS, {"variants": VARIANTS})
    early = observations // 50
    loaded = wall_seconds(lambda: _observe(engine, 0, early))
    _refresh(engine)
    small = _refresh_after_change(engine, early)
    loaded += wall_seconds(lambda: _observe(engine, early + CHANGED, observations))
    first = wall_seconds(lambda: _refresh(engine))
    large = _refresh_after_change(engine, observations + CHANGED)
    with engine.connect() as connection:
        assert connection.execute(_WRONG).scalar_one() == 0
    what = f"refresh after {CHANGED} new observations"
    return [
        Row("P8", f"recording {observations:,} observations of {VARIANTS:,} variants", "s", loaded),
        Row("P8", "refresh after all of them", "s", first),
        Row(
            "P8",
            f"{what}, on {observations:,}",
            "ms",
            1e3 * large[0],
            peer_name=f"on {early:,}",
            peer=1e3 * small[0],
            ratio=large[0] / small[0],
        ),
        Row("P8", f"{what}: rows of history read", "rows", float(large[1]), limit=Limit(at_most=0)),
    ]


def _observe(engine: Engine, first: int, end: int) -> None:
    for start in range(first, end, BATCH):
        with engine.begin() as connection:
            bounds = {"first": start, "last": min(start + BATCH, end) - 1}
            connection.execute(_OBSERVE, {"variants": VARIANTS, **bounds})


def _refresh(engine: Engine) -> None:
    made = job()
    drain(engine, made, None, Origin("benchmark", made.code_version))


def _refresh_after_change(engine: Engine, first: int) -> tuple[float, int]:
    """(median seconds of one refresh, rows of `observations` that it read)."""
    _observe(engine, first, first + CHANGED)
    before = _history_read(engine)
    seconds = wall_seconds(lambda: _refresh(engine))
    return seconds, _history_read(engine) - before


def _history_read(engine: Engine) -> int:
    engine.dispose()  # a connection that ends reports its counts
    with engine.connect() as connection:
        return int(connection.execute(_READ).scalar_one())
