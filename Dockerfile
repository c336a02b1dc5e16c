# syntax=docker/dockerfile:1
# One image for every part of the platform; the chart says which program a container runs.
#
# The base is named by tag here. Whoever builds a release names it by digest instead, so that the build can be repeated:
#   docker build --build-arg PYTHON=python:3.12-slim@sha256:... --build-arg REVISION=$(git rev-parse HEAD) -t NAME:TAG .
ARG PYTHON=python:3.12-slim

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements-uv.lock requirements.lock ./
RUN python -m venv /uv \
    && /uv/bin/pip install --quiet --no-deps --require-hashes -r requirements-uv.lock \
    && /uv/bin/uv venv --quiet /opt/venv \
    && /uv/bin/uv pip install --quiet --compile-bytecode --python /opt/venv/bin/python --no-deps --require-hashes -r requirements.lock
COPY . .
# The tools that build a wheel are in the lock as well; they stay behind with this stage.
RUN /uv/bin/uv pip install --quiet --compile-bytecode --python /opt/venv/bin/python --no-deps --no-build-isolation . \
    && /uv/bin/uv pip uninstall --quiet --python /opt/venv/bin/python hatchling editables

FROM ${PYTHON}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="threads-agent" \
      org.opencontainers.image.description="What you ship and what you post become tables you can trust." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
# /tmp is the home: the only place that can be written when the root file system is read-only.
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore pip \
    && useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin threads-agent \
    && mkdir /srv/threads-agent
COPY --from=build /opt/venv /opt/venv
# PYTHONSAFEPATH: a folder `assets` in the working directory must not shadow ours.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    THREADS_AGENT_HOME=/tmp/threads-agent
WORKDIR /srv/threads-agent
USER 10001:10001
CMD ["threads-agent", "--help"]
