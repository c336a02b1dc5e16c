"""What makes Dagster quick: run host, launcher, storage, listening sensors.

Beside definitions.py the only part of the engine that imports Dagster. May import db and settings.
"""
