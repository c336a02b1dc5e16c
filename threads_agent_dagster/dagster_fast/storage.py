"""Dagster's PostgreSQL storage over one pooled engine per process.

The stock storage opens and closes a connection for every statement (32 of them for a run of one asset), because an
engine's pool is not safe to inherit through fork. Here the pool is, so the three storages share one.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
    retry_pg_connection_fn,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

IDLE_CONNECTIONS = 5  # kept open per process; more are opened under load and closed again
TABLES = ("runs", "event_logs", "instance_info", "jobs")
_engines: WeakSet[Engine] = WeakSet()


class PooledPostgresStorage(DagsterPostgresStorage):
    """The `storage:` of dagster.yaml; takes the same configuration as DagsterPostgresStorage."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        super().__init__(postgres_url, False, inst_data, token_provider)
        engine = pooled_engine(postgres_url, token_provider)
        if should_autocreate_tables and not _has_tables(engine):
            DagsterPostgresStorage(postgres_url, True, inst_data, token_provider)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine.dispose()
            storage._engine = engine

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


def pooled_engine(postgres_url: str, token_provider: Any = None) -> Engine:
    """An AUTOCOMMIT engine whose idle connections notice a restarted server and are forgotten in a forked child."""
    engine = create_pg_engine(
        postgres_url,
        token_provider,
        isolation_level="AUTOCOMMIT",
        poolclass=QueuePool,
        pool_size=IDLE_CONNECTIONS,
        max_overflow=-1,
        pool_use_lifo=True,
    )
    sa.event.listen(engine, "checkout", _refuse_hung_up)
    _engines.add(engine)
    return engine


def _refuse_hung_up(connection: Any, _record: object, _proxy: object) -> None:
    # An idle connection has nothing to read unless the server said goodbye. Asking the socket costs no round trip,
    # while a ping would double the number of transactions.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError("the server closed this connection")


def _has_tables(engine: Engine) -> bool:
    present = sa.select(*(sa.func.to_regclass(table).is_not(None) for table in TABLES))
    with retry_pg_connection_fn(engine.connect) as connection:
        return all(connection.execute(present).one())


def _forget_inherited_connections() -> None:
    # Two processes on one connection corrupt the protocol; closing it here would end the parent's session.
    for engine in _engines:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_inherited_connections)
