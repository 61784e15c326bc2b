# The gateway's image. Build: docker build -t routerdc-gateway .
#
# Pin the base for releases: `docker buildx imagetools inspect python:3.11-slim-bookworm` prints its digest, then
#   docker build --build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:<digest> .
# Any base with Python 3.11, venv and glibc serves. pip's own settings (a proxy, a private index) are given as a secret, so
# that no layer holds them:
#   docker build --secret id=pip.conf,src=$HOME/.config/pip/pip.conf .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
# `encoder` runs a bundle's exported sentence encoder on the CPU; `encoder-torch` any other, with PyTorch; empty makes the
# smallest image, which runs the `features` encoder and every policy that needs none.
ARG EXTRAS=encoder
# PyTorch's CPU build, for `encoder-torch`. Empty: take torch from pip's own index, as a host with a GPU does.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_CONFIG_FILE=/run/secrets/pip.conf
RUN python3 -m venv /opt/gateway
WORKDIR /build
# What changes seldom comes first, in layers of its own: they are built again only when a lock changes.
COPY constraints/gateway.txt constraints/train.txt constraints/
RUN --mount=type=secret,id=pip.conf \
    /opt/gateway/bin/pip install --no-deps -r constraints/gateway.txt
# hadolint ignore=DL3059
RUN --mount=type=secret,id=pip.conf \
    case "${EXTRAS}" in *torch*) \
      /opt/gateway/bin/pip install -c constraints/train.txt torch ${TORCH_INDEX_URL:+--index-url "${TORCH_INDEX_URL}"};; \
    esac
COPY pyproject.toml README.md LICENSE ./
COPY router_core/ router_core/
COPY router_training/ router_training/
COPY gateway/ gateway/
RUN --mount=type=secret,id=pip.conf \
    /opt/gateway/bin/pip wheel --no-deps --wheel-dir wheels . \
    && wheel="$(echo wheels/routerdc_gateway-*.whl)" \
    && /opt/gateway/bin/pip install -c constraints/train.txt "${wheel}${EXTRAS:+[${EXTRAS}]}" \
    && /opt/gateway/bin/pip uninstall --yes pip

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="RouterDC Gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid gateway --no-create-home --home-dir /tmp --shell /usr/sbin/nologin gateway
COPY --from=builder /opt/gateway /opt/gateway
# Nothing is written but /tmp, so the root may be read-only; what libraries cache goes there too.
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/tmp/huggingface \
    HF_HUB_OFFLINE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/etc/routerdc/gateway.yaml"]
