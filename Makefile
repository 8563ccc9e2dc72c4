# `make demo` and `make test` set up all they need in .venv, from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Torch first and pinned: with a newer release allowed, pip would fetch gigabytes of CUDA.
TORCH := torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test lint types unit clean

demo: $(VENV)/.demo
	$(BIN)/pairsift demo --out demo-output

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# pytest's exit code 5 (no test ran) is a failure like any other.
unit: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist loadgroup

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(TORCH)
	echo '$(TORCH)' > $(VENV)/constraints.txt
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) install -c $(VENV)/constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) install -c $(VENV)/constraints.txt -e '.[demo,datasets,evaluate,lora,ray,s3,serve,teach,torchmetrics,train,docs,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-output build dist .mypy_cache .pytest_cache .ruff_cache
