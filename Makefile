# make env     .venv with everything pinned        make test   lint, types, unit and workflow tests
# make demo    the sample cities, start to end     make bench  every benchmark, figures printed
SHELL := /bin/bash
BIN := .venv/bin
SMK_FILES := Snakefile workflow/rules

.PHONY: env env-dev demo test lint format bench clean-demo

env:
	@envs/create.sh

env-dev: env
	@envs/create.sh dev

sample/.drawn: $(wildcard src/roadspeed/acquire/sample/*.py) | env
	$(BIN)/roadspeed sample sample --grid 5x5 --threads $$(nproc)
	@touch $@

demo: env sample/.drawn
	$(BIN)/snakemake --cores all --configfile config/sample.yaml
	@$(BIN)/python workflow/scripts/show_results.py results/sample

lint: env-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check $(SMK_FILES)
	$(BIN)/snakemake --lint

format: env-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt $(SMK_FILES)

test: lint sample/.drawn
	$(BIN)/pytest

bench: env-dev
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean-demo:
	rm -rf sample data/sample results/sample
