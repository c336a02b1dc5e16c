"""The dashboard. data.py is its only reader; pages lay out, charts draw.

May import the engine's clients, db and domain; never Dagster, assets or the API.
"""
