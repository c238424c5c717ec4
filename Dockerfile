# One image for all programs of fbs-worker: `fbs worker`, `fbs beat`, `fbs flower`, `fbs api`,
# `fbs metrics --serve`.
# It holds no setting and no secret: they come with the container (docs/howto/production.md).
#
# The base image is named by exact version; a digest (@sha256:…) that you have checked may follow it. docker/*.txt have
# each library with its hashes, in the versions of constraints.txt. To make them anew:
#   uv pip compile pyproject.toml --extra api --extra flower --extra mcp --constraints constraints.txt --generate-hashes \
#       --no-annotate --no-header --python-version 3.11.15 --python-platform linux --output-file docker/requirements.txt
#   echo hatchling | uv pip compile - (the same options) --output-file docker/build-requirements.txt

ARG PYTHON=3.11.15

FROM python:${PYTHON}-slim-trixie AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
COPY docker/requirements.txt docker/build-requirements.txt docker/
RUN python -m venv /opt/fbs \
    && /opt/fbs/bin/pip install --require-hashes --only-binary :all: --requirement docker/requirements.txt \
    && python -m pip install --require-hashes --only-binary :all: --requirement docker/build-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY fbs_worker fbs_worker
COPY connectors connectors
COPY tasks tasks
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/fbs/bin/pip install --no-deps /wheel/*.whl \
    && /opt/fbs/bin/pip check

FROM python:${PYTHON}-slim-trixie
# a number, so that Kubernetes can see that it is not root
RUN useradd --system --no-log-init --uid 10001 --user-group --home-dir /var/lib/fbs --create-home fbs
COPY --from=build /opt/fbs /opt/fbs
ENV PATH=/opt/fbs/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FBS_HOME=/var/lib/fbs
WORKDIR /var/lib/fbs
USER 10001:10001
# The worker's: a probe goes through its own queue. Other programs have checks of their own in docker-compose.yml.
HEALTHCHECK --interval=30s --timeout=25s --start-period=30s --retries=3 CMD ["fbs", "health", "--worker", "worker"]
CMD ["fbs", "worker", "--name", "worker"]
