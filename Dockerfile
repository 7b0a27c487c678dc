# An image for each program, which holds that program alone:
#
#   docker build --build-arg SERVICE=orders .                       a service
#   docker build --build-arg SERVICE=support --build-arg EXTRA=,meaning .   with an extra that it can do without
#   docker build --build-arg SERVICE=gateway --target gateway .
#   docker build --build-arg SERVICE=acquirer --target sandbox .    carrier or bank
#
# docker-compose.yml does that for all. tests/architecture runs what is copied here, service by service.

FROM python:3.11-slim-bookworm AS packages
ARG SERVICE
ARG EXTRA=
WORKDIR /build
COPY pyproject.toml setup.cfg requirements.lock ./
# What setup.cfg says that this program needs, in the versions of the lock.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint requirements.lock ".[$SERVICE,postgresql$EXTRA]"

FROM python:3.11-slim-bookworm AS base
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /rialto
RUN useradd --uid 1000 rialto && install --directory --owner=rialto var
USER 1000

FROM base AS sandbox
ARG SERVICE
ENV SERVICE=$SERVICE
COPY sandbox sandbox
ENTRYPOINT ["sh", "-c", "exec python -m sandbox.$SERVICE \"$@\"", "sandbox"]
CMD ["--host", "0.0.0.0", "--port", "8100", "--db", "var/sandbox.db"]

FROM base AS gateway
COPY config.yaml gateway.py ./
COPY chassis chassis
COPY contracts contracts
COPY edge edge
COPY web web
CMD ["nameko", "run", "--config", "config.yaml", "gateway:GatewayService"]

FROM base AS service
ARG SERVICE
ENV SERVICE=$SERVICE
COPY config.yaml deploy/entrypoint ./
COPY chassis chassis
COPY contracts contracts
COPY services/__init__.py services/__init__.py
COPY services/$SERVICE services/$SERVICE
ENTRYPOINT ["sh", "entrypoint"]
