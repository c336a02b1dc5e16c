"""What we ask Dagster, against the schema of the version that is installed."""

from __future__ import annotations

import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from threads_agent_dagster.clients import dagster

QUERIES = {name: text for name, text in vars(dagster).items() if name.isupper() and isinstance(text, str)}


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_dagster_understands_every_query(name: str) -> None:
    assert validate(create_schema().graphql_schema, parse(QUERIES[name])) == []
