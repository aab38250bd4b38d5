# syntax=docker/dockerfile:1
FROM python:3.13-slim-trixie AS build
COPY --from=ghcr.io/astral-sh/uv:0.13 /uv /bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-dev --extra team --no-install-project
COPY README.md LICENSE ./
COPY examples/README.md examples/
COPY src src
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-dev --extra team --no-editable

FROM python:3.13-slim-trixie
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin kontext \
    && install --directory --owner=kontext --mode=0700 /data
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 \
    KONTEXT_HOME=/data KONTEXT_OUTPUT_DIR=/data/pictures KONTEXT_LOG=json
USER 10001
WORKDIR /data
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/health', timeout=4)"]
ENTRYPOINT ["kontext-edit"]
CMD ["serve", "--host", "0.0.0.0"]
