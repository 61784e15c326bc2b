#!/usr/bin/env bash
# Build the image from the Dockerfile and run it as docker-compose.yml does, without a Docker engine or a registry.
#
#   deploy/compose/try_image.sh [options for `buildah bud`]
#
# Needs root, and the Debian packages buildah, podman, runc, conmon, netavark, debootstrap; about 4 GB of disk. The base image is a
# minimal Debian with Python, made once by debootstrap. TORCH_INDEX_URL, when set (empty too), replaces the Dockerfile's.
# It shows that the image builds, holds no build tools and no pip settings, starts as an ordinary user on a read-only root
# without capabilities or network, loads the demo's router and encoder there, and stops when told.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly BASE=localhost/routerdc-base:bookworm
readonly IMAGE=localhost/routerdc-gateway:try
readonly NAME=routerdc-gateway-try
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot

scratch=$(mktemp -d)
cleanup() {
  podman rm --force --ignore "$NAME" >/dev/null 2>&1 || true
  rm -rf "$scratch"
}
trap cleanup EXIT

# The defaults of a Debian 12 podman ask for limits and cgroups that a container host may not grant.
cat >"$scratch/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
CONF
export CONTAINERS_CONF=$scratch/containers.conf

for tool in buildah podman runc; do
  command -v "$tool" >/dev/null || { echo "$tool is not here: apt-get install buildah podman runc conmon netavark debootstrap" >&2; exit 1; }
done

if ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
  echo "[1/3] base image, by debootstrap (two minutes)"
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$scratch/rootfs" >"$scratch/debootstrap.log"
  container=$(buildah from scratch)
  buildah copy -q "$container" "$scratch/rootfs" / >/dev/null
  buildah commit -q --rm "$container" "$BASE" >/dev/null
  rm -rf "$scratch/rootfs"
fi

echo "[2/3] the image (five minutes)"
buildah bud --format docker --tag "$IMAGE" --build-arg BASE_IMAGE="$BASE" --build-arg EXTRAS=encoder-torch \
  ${TORCH_INDEX_URL+--build-arg TORCH_INDEX_URL="$TORCH_INDEX_URL"} "$@" .

echo "[3/3] run it"
podman run --detach --no-healthcheck --name "$NAME" --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges --network none \
  --volume "$PWD/deploy/demo:/etc/routerdc:ro" --env DEMO_ENGINE_URL=http://127.0.0.1:9 "$IMAGE" >/dev/null

inside() { podman exec "$NAME" "$@"; }
expect() { # what, command...
  local what=$1
  shift
  "$@" || { echo "FAIL  $what"; podman logs "$NAME" | tail -n 20; exit 1; } >&2
  echo "  ok  $what"
}
probe() { # path, text that the answer must hold
  inside python -c '
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen("http://127.0.0.1:8000" + sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
sys.exit(sys.argv[2] not in answer.read().decode())' "$1" "$2" 2>/dev/null
}
within_two_minutes() {
  local deadline=$((SECONDS + 120))
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 2
  done
}
lacks() { ! inside sh -c "command -v $1 >/dev/null"; }

expect "the process answers /healthz" within_two_minutes probe /healthz '"ok"'
expect "the router and its encoder are loaded" within_two_minutes probe /readyz '"router_ready":true'
expect "it runs as uid 10001" test "$(inside id -u)" = 10001
expect "its root is read-only" sh -c "! podman exec $NAME touch /opt/gateway/x 2>/dev/null"
for tool in gcc cc make git; do expect "it holds no $tool" lacks "$tool"; done
expect "its environment holds no pip" lacks /opt/gateway/bin/pip
expect "it holds no pip settings" sh -c "! podman exec $NAME sh -c 'ls /run/secrets/* /etc/pip.conf' >/dev/null 2>&1"
expect "a health check is part of it" sh -c "podman inspect $IMAGE --format '{{.HealthCheck}}' | grep -q healthz"
podman stop --time 20 "$NAME" >/dev/null
expect "it ends with status 0 on SIGTERM" test "$(podman inspect "$NAME" --format '{{.State.ExitCode}}')" = 0
podman images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | grep "^$IMAGE"
