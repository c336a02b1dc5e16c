"""Three FastAPI apps (orchestrator, achievements, prompts) over one set of dependencies.

May import work and what is below it; Dagster is reached over HTTP only.
"""
