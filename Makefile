# `make help` lists what there is. Each target makes the environment it needs in .venv.

PYTHON ?= python3
TORCH := 2.13.0
# Where torch comes from unless pip is told of a local wheel (PIP_FIND_LINKS): builds without CUDA, a tenth of the size.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# A folder that holds EMNIST/raw; empty: the official files are downloaded.
DATA ?= $(wildcard ../shared/data/emnist)
# A folder with zips of scans and their truth, for the model's card; empty: the card is without.
SCANS ?= $(wildcard ../shared/data/scans)
RECIPE ?= best
PORT ?= 8000
PYTEST_ARGS ?=
MINUTES ?= 60
SOAK_ARGS ?=
SEED ?= 7
DEBIAN := chromium iproute2 iptables libfaketime prometheus redis-tools
BENCH_ARGS ?= --json bench/results/latest.json

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header
PEERS := litserve mosec
PEERS_VENV := .venv-bench

.DEFAULT_GOAL := help
.PHONY: help demo demo-crash serve test test-faults test-browser settings-page machine compose-test hosts-test soak fuzz screenshots debian check audit lock bench bench-peers bench-scaling bench-training train export evaluate card clean

help:  ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## use

demo: $(VENV)/service  ## classify drawn sample scans with the whole service, and stop it again
	@mkdir -p demo
	$(BIN)/glyphq sample 2000 -o demo/scans.zip --force
	env -u GLYPHQ_SERVER $(BIN)/glyphq classify demo/scans.zip -o demo/predictions.csv --truth demo/scans.csv
	head -n 6 demo/predictions.csv

demo-crash: $(VENV)/service  ## kill a worker and flush Redis within a job, and compare what comes out
	$(BIN)/python -m tests.faults.demo

serve: $(VENV)/service  ## keep the service up at http://127.0.0.1:PORT, 8000 unless told otherwise
	$(BIN)/glyphq serve --port $(PORT)

machine: $(VENV)/service  ## make the environment of a machine that shares a bucket with others, and start nothing
	@$(PIP) install --no-deps --require-hashes -r requirements/api.txt -r requirements/worker.txt

## check

test: $(VENV)/development debian  ## run all tests
	$(BIN)/pytest $(PYTEST_ARGS)

test-faults: $(VENV)/development debian  ## break a service in every way there is, one by one
	$(BIN)/pytest tests/faults $(PYTEST_ARGS)

test-browser: $(VENV)/development debian  ## use the page as people do, in Chromium
	$(BIN)/pytest tests/browser $(PYTEST_ARGS)

compose-test: $(VENV)/development  ## build the images, and break the stack of docker-compose.yml, where there is a Docker engine
	$(BIN)/pytest tests/compose -s -rs $(PYTEST_ARGS)

hosts-test: $(VENV)/development debian  ## run a job on several hosts, and cut one of them off
	$(if $(filter 0,$(shell id -u)),,unshare --map-root-user --net) $(BIN)/pytest tests/hosts $(PYTEST_ARGS)

screenshots: $(VENV)/development debian  ## each view of the page, light and dark, narrow and wide, into docs/screenshots
	$(BIN)/python -m tests.browser.screenshots

settings-page: $(VENV)/development  ## write docs/settings.md from the settings
	$(BIN)/python -m tests.docs.settings_page

soak: $(VENV)/development debian  ## break a service at random for MINUTES under load, then count every row
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --seed $(SEED) $(SOAK_ARGS)

fuzz: $(VENV)/development  ## hand made-up bytes for MINUTES to what reads strangers' zips, images, requests and names
	$(BIN)/python -m tests.hostile.fuzz --minutes $(MINUTES) --seed $(SEED)

# The package prometheus would run as a service: a test starts its own.
debian:  ## install what tests need beside Python packages: as root on Debian, else name it
	@missing=$$(for package in $(DEBIAN); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -qq --no-install-recommends $$missing >/dev/null || exit; \
		case "$$missing" in *prometheus*) \
			service prometheus stop >/dev/null 2>&1; update-rc.d prometheus disable >/dev/null 2>&1 || :;; esac; \
	else echo "Not installed, so that some tests are skipped:" $$missing; fi

check: $(VENV)/development  ## lint, types, who may import whom, and known vulnerabilities
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m requirements.audit

audit: $(VENV)/development  ## look the locked packages up among known vulnerabilities
	$(BIN)/python -m requirements.audit

lock: $(VENV)/development  ## lock what the environments and images are made of, at the newest versions that fit
	@for set in "api api s3" "worker worker s3" "service api worker embedded" "development api worker embedded s3 training dev"; do \
		set -- $$set; echo "requirements/$$1.txt"; name=$$1; shift; \
		$(LOCK) pyproject.toml $$(printf -- '--extra %s ' $$@) --no-emit-package torch -o requirements/$$name.txt || exit; \
	done
	@echo requirements/build.txt
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(LOCK) - -o requirements/build.txt

## measure

bench: bench-peers  ## glyphq, what one would use instead, and the machine's limit, side by side: half an hour
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-peers: $(PEERS:%=$(PEERS_VENV)/%/ready)  ## the environments of the servers that glyphq is compared with

bench-scaling: $(VENV)/development  ## what a chunk costs each part of the service, and what that comes to on more machines
	$(BIN)/python -m bench.scaling

bench-training: $(VENV)/development  ## the training step of the best recipe and a plain PyTorch loop, side by side
	$(BIN)/python -m bench.training $(if $(DATA),--data $(DATA))

## train

train: $(VENV)/development  ## train RECIPE on EMNIST into runs/; Ctrl-C saves, again to resume
	$(BIN)/python -m training.train --recipe $(RECIPE) $(if $(DATA),--data $(DATA))

export: $(VENV)/development  ## write the finished run of RECIPE: best as the shipped model, another into runs/RECIPE/model
	$(BIN)/python -m training.export --recipe $(RECIPE) $(if $(DATA),--data $(DATA)) \
		$(if $(filter best,$(RECIPE)),,--output runs/$(RECIPE)/model)

evaluate: $(VENV)/development  ## measure the shipped model on EMNIST's test set: a table, and a report in runs/evaluation
	$(BIN)/python -m training.evaluate $(if $(DATA),--data $(DATA))

card: $(VENV)/development  ## measure the shipped model on every test set, and write its card and docs/model-card.md
	$(BIN)/python -m training.card $(if $(DATA),--data $(DATA)) $(if $(SCANS),--scans $(SCANS)) \
		$(addprefix --beside ,$(wildcard runs/published/model))

clean:  ## remove the environment, the demo and caches; not runs/, and not the jobs of `make serve`
	rm -rf $(VENV) $(PEERS_VENV) demo .mypy_cache .ruff_cache .pytest_cache

$(VENV)/torch:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "glyphq needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "making the environment in $(VENV); the first time this takes minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-index --no-deps torch==$(TORCH) 2>/dev/null || \
		$(PIP) install --no-deps --index-url $(TORCH_INDEX) torch==$(TORCH)
	@touch $@

$(VENV)/service: $(VENV)/torch pyproject.toml requirements/service.txt
	@$(PIP) install --no-deps --require-hashes -r requirements/service.txt
	@$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/development: $(VENV)/service requirements/development.txt
	@$(PIP) install --no-deps --require-hashes -r requirements/development.txt
	@touch $@

# Each has what its server needs. A .pth file shows it the project's packages besides, torch among them, for each would
# take another copy.
$(PEERS_VENV)/%/ready: bench/peers/requirements/%.txt $(VENV)/development
	@$(BIN)/python -m venv $(PEERS_VENV)/$*
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$($(PEERS_VENV)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth
	@$(PEERS_VENV)/$*/bin/pip --quiet --disable-pip-version-check install -r $<
	@touch $@
