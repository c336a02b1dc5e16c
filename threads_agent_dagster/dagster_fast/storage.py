"""Dagster's PostgreSQL storage with fewer round trips: the same tables and data, so that either can be used any time.

The stock storage opens a connection for every statement, because an engine's pool is not safe to inherit through fork;
asks the catalogue for columns and tables that it has already seen; and sends a NOTIFY with every event, to which nobody
has listened since Dagster polls. A run of one asset costs it 88 transactions over 32 connections.
"""

from __future__ import annotations

import functools
import os
import select
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
    retry_pg_connection_fn,
)
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

IDLE_CONNECTIONS = 5  # kept open per process; more are opened under load and closed again
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
TABLES = ("runs", "event_logs", "instance_info", "jobs")
Question = Callable[..., bool]
_engines: WeakSet[Engine] = WeakSet()


def _remembered(question: Question) -> Question:
    """Ask until the answer is yes: a table or column that is there stays there."""

    @functools.wraps(question)
    def ask(self: Any, *arguments: Any) -> bool:
        seen: set[Any] = self.__dict__.setdefault("_seen", set())
        key = (question.__name__, *(each for each in arguments if not isinstance(each, Connection)))
        if key not in seen and question(self, *arguments):
            seen.add(key)
        return key in seen

    return ask


class RunStorage(PostgresRunStorage):
    @_remembered
    def has_run_stats_index_cols(self) -> bool:
        return _has_columns(self._engine, "runs", ["start_time", "end_time"])

    @_remembered
    def has_backfill_id_column(self) -> bool:
        return _has_columns(self._engine, "runs", ["backfill_id"])

    has_bulk_actions_selector_cols = _remembered(PostgresRunStorage.has_bulk_actions_selector_cols)
    has_bulk_action_job_name_column = _remembered(PostgresRunStorage.has_bulk_action_job_name_column)
    has_backfill_tags_table = _remembered(PostgresRunStorage.has_backfill_tags_table)


class EventLogStorage(PostgresEventLogStorage):
    @_remembered
    def has_table(self, table_name: str) -> bool:
        return _has_tables(self._engine, [table_name])

    _has_asset_key_col_on_connection = _remembered(PostgresEventLogStorage._has_asset_key_col_on_connection)
    store_event = SqlEventLogStorage.store_event  # what PostgresEventLogStorage does, without the NOTIFY

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Materialisations planned for a range of partitions go in together; the stock storage sends them one by one,
        so that a run over three years of days takes minutes to be created.
        """
        planned = [event for event in events if event.dagster_event_type == PLANNED]
        others = [event for event in events if event.dagster_event_type != PLANNED]
        if others:
            super().store_event_batch(others)
        if planned:
            self._store_planned(planned)

    def _store_planned(self, events: Sequence[dg.EventLogEntry]) -> None:
        with self._connect() as connection:
            insert = self.prepare_insert_event_batch(events).returning(SqlEventLogStorageTable.c.id)
            ids = connection.execute(insert).scalars().all()
        newest = {event.get_dagster_event().asset_key: (event, id_) for event, id_ in zip(events, ids, strict=True)}
        with self.index_transaction() as connection:
            self._store_asset_event_tags(connection, events, ids)
            for event, id_ in newest.values():
                self._store_asset_event(connection, event, id_)


class ScheduleStorage(PostgresScheduleStorage):
    _has_instigators_table = _remembered(PostgresScheduleStorage._has_instigators_table)
    _has_asset_daemon_asset_evaluations_table = _remembered(
        PostgresScheduleStorage._has_asset_daemon_asset_evaluations_table
    )
    has_secondary_index_table = _remembered(PostgresScheduleStorage.has_secondary_index_table)
    has_built_index = _remembered(PostgresScheduleStorage.has_built_index)


class PooledPostgresStorage(DagsterPostgresStorage):
    """The `storage:` of dagster.yaml; takes the same configuration as DagsterPostgresStorage."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        engine = pooled_engine(postgres_url, token_provider)
        if should_autocreate_tables and not _has_tables(engine, TABLES):
            DagsterPostgresStorage(postgres_url, token_provider=token_provider)
        super().__init__(postgres_url, False, inst_data, token_provider)
        self._run_storage = RunStorage(postgres_url, False, token_provider=token_provider)
        self._event_log_storage = EventLogStorage(postgres_url, False, token_provider=token_provider)
        self._schedule_storage = ScheduleStorage(postgres_url, False, token_provider=token_provider)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
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


def _has_tables(engine: Engine, names: Sequence[str]) -> bool:
    query = sa.text("SELECT count(*) FROM unnest(:names) name WHERE to_regclass(quote_ident(name)) IS NOT NULL")
    return _count(engine, query, names=list(names)) == len(names)


def _has_columns(engine: Engine, table: str, names: Sequence[str]) -> bool:
    # SQLAlchemy's reflection answers the same after three queries and 15 ms of a new process's CPU.
    query = sa.text("SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = ANY(:names)")
    return _count(engine, query, table=table, names=list(names)) == len(names)


def _count(engine: Engine, query: sa.TextClause, **parameters: Any) -> int:
    with retry_pg_connection_fn(engine.connect) as connection:
        return int(connection.execute(query, parameters).scalar_one())


def _forget_inherited_connections() -> None:
    # Two processes on one connection corrupt the protocol; closing it here would end the parent's session.
    for engine in _engines:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_inherited_connections)
