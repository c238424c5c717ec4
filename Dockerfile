# One image for all programs of fbs-worker: `fbs worker`, `fbs beat`, `fbs flower`, `fbs api`,
# `fbs metrics --serve`.
# It holds no setting and no secret: they come with the container (docs/howto/production.md).

ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY fbs_worker fbs_worker
COPY connectors connectors
COPY tasks tasks
RUN python -m venv /opt/fbs \
    && /opt/fbs/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt '.[flower,api]'

FROM python:${PYTHON}-slim
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
