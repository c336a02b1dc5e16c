"""When things happen: sensors for what Dagster cannot see, schedules, alerts on failed runs.

May import assets, resources and the engine.
"""
