#!/usr/bin/env bash
# Everything `make check` looks at. A check whose tool is missing is skipped on a developer's machine and fails under CI=true.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly BIN=.venv/bin
failed=()

check() { # name, command...
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    printf '  ok    %s\n' "$name"
  else
    printf '  FAIL  %s: %s\n' "$name" "$*"
    printf '%s\n' "$output" | sed 's/^/        /'
    failed+=("$name")
  fi
}

skip() { # name, why
  printf '  skip  %s: %s\n' "$1" "$2"
  [ "${CI:-}" != true ] || failed+=("$1")
}

compose_config() { # profile
  if command -v docker-compose >/dev/null; then
    docker-compose --profile "$1" -f docker-compose.yml config -q
  else
    docker compose --profile "$1" -f docker-compose.yml config -q
  fi
}

[ -x "$BIN/python" ] || { echo "no .venv here: run make setup first" >&2; exit 1; }

check "ruff check" "$BIN/ruff" check .
check "ruff format" "$BIN/ruff" format --check .
check "mypy" "$BIN/mypy"
check "import law" "$BIN/lint-imports"
check "docs/config.md (make docs renews it)" diff docs/config.md <("$BIN/gateway" config-docs)
check "hadolint" "$BIN/hadolint" Dockerfile

if command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1; then
  # The file needs no secret to be read, so any value stands for the ones that a start asks for.
  export HF_TOKEN=unset
  for profile in $(sed -n 's/^ *profiles: \[\(.*\)\].*/\1/p' docker-compose.yml | tr -d '",' | tr ' ' '\n' | sort -u); do
    check "compose config, profile $profile" compose_config "$profile"
  done
else
  skip "compose config" "no docker-compose (make setup installs it on Debian and Ubuntu)"
fi

if command -v promtool >/dev/null; then
  check "promtool" promtool check config deploy/prometheus/prometheus.yml
else
  printf '  skip  promtool: not here (Debian package prometheus)\n'
fi
if command -v shellcheck >/dev/null; then
  mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
  check "shellcheck" shellcheck "${scripts[@]}"
else
  printf '  skip  shellcheck: not here (Debian package shellcheck)\n'
fi

[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "$(IFS=,; echo "${failed[*]}")" >&2; exit 1; }
