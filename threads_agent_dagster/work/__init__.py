"""Claim, compute, store: one module per noun that turns pending rows into tables.

May import db, clients and domain; knows neither Dagster nor how HTTP is served.
"""
