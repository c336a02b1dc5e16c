"""One module per noun: what tables exist, how they are made, and their checks.

Thin shells over threads_agent_dagster.work; may import resources and the engine.
"""
