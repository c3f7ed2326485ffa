# Any base with glibc and Python 3.11 or newer will do; cel-expr-python has no musl wheels, so not Alpine.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Debian's own Python has venv in a package of its own.
RUN python3 -c 'import ensurepip' 2>/dev/null \
 || { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends python3-venv; }
COPY requirements/runtime.txt requirements/build.txt requirements/
# What builds the package stays out of what runs it. Where pip and its certificates are set up on the builder's machine,
# `make image` passes that as secrets, which no layer keeps.
RUN --mount=type=secret,id=pip --mount=type=secret,id=certificates \
    if [ -f /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi \
 && if [ -f /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi \
 && python3 -m venv /opt/heed \
 && /opt/heed/bin/pip install --require-hashes --requirement requirements/runtime.txt \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# Of the Kubernetes client's thousands of modules Heed imports a few dozen: byte code of the others would be dead weight.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
 && /opt/heed/bin/pip install --no-deps --no-index /wheels/heed-*.whl \
 && /opt/heed/bin/pip uninstall --yes setuptools pip \
 && find /opt/heed -path '*/site-packages/kubernetes/*client/*/*.pyc' ! -name '__init__.*' -delete

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="heed" \
      org.opencontainers.image.description="Event-driven agents on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Some bases bring a pip of their own. Nothing is installed any more.
RUN if python3 -m pip --version >/dev/null 2>&1; then \
      python3 -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip; \
    fi
COPY --from=build /opt/heed /opt/heed
ENV PATH=/opt/heed/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 9090 9443
ENTRYPOINT ["heed"]
CMD ["operator"]
