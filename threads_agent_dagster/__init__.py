"""The engine: everything that needs no Dagster, plus the one file that assembles Dagster.

Imports only point down: definitions > api | cli | local > work > clients | db > domain > settings | errors.
"""
