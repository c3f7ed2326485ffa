# Any base with glibc and Python 3.11 or newer will do; cel-expr-python has no musl wheels, so not Alpine.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/runtime.txt requirements/build.txt requirements/
# What builds the package stays out of what runs it.
RUN python3 -m venv /opt/heed \
 && /opt/heed/bin/pip install --require-hashes --requirement requirements/runtime.txt \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
 && /opt/heed/bin/pip install --no-deps --no-index /wheels/heed-*.whl \
 && /opt/heed/bin/pip uninstall --yes setuptools pip

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="heed" \
      org.opencontainers.image.description="Event-driven agents on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/heed /opt/heed
ENV PATH=/opt/heed/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["heed"]
CMD ["operator"]
