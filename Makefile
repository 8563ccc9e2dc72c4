# `make demo` and `make test` set up all they need in .venv, from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Torch first and pinned: with a newer release allowed, pip would fetch gigabytes of CUDA.
TORCH := torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test lint types unit docs dist test-integrations test-outside bench-peers test-lowest test-models clean

demo: $(VENV)/.demo
	$(BIN)/pairsift demo --out demo-output

test: lint types unit docs dist

# While you work: all areas, without the tests marked `slow`; under 2 minutes on 2 idle cores.
test-fast: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist loadgroup -m 'not slow'

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# pytest's exit code 5 (no test ran) is a failure like any other.
unit: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist loadgroup

# No network: fonts, scripts and references are all local.
docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

# The wheel in a clean environment, without the repository.
dist: $(VENV)/.dev
	PAIRSIFT_DIST=1 PAIRSIFT_TORCH='$(TORCH)' $(BIN)/pytest tests/packaging
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(TORCH)
	echo '$(TORCH)' > $(VENV)/constraints.txt
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) install -c $(VENV)/constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) install -c $(VENV)/constraints.txt -e '.[demo,datasets,datatrove,evaluate,lora,ray,s3,serve,teach,torchmetrics,train,docs,dev]'
	touch $@

# Data-Juicer and NeMo Curator bring a gigabyte each and pin what they like, Daft an older pyarrow,
# Lance is large: a venv of its own each. Their guides' examples are run too.
HEAVY := data-juicer curator daft lance
test-integrations: $(HEAVY:%=.venv-%/.ready)
	.venv-data-juicer/bin/pytest tests/integrations/test_data_juicer.py
	.venv-curator/bin/pytest tests/integrations/test_nemo_curator.py
	.venv-daft/bin/pytest tests/integrations/test_daft.py
	.venv-lance/bin/pytest tests/integrations/test_lance.py

.venv-%/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check -q install $(TORCH)
	echo '$(TORCH)' > .venv-$*/constraints.txt
	.venv-$*/bin/python -m pip --disable-pip-version-check -q install \
	  -c .venv-$*/constraints.txt -e '.[$*]' pytest
	touch $@

# What users run next, with the packages themselves. DATACOMP=DIR, a clone of DataComp, adds its
# resharder.
OUTSIDE := open_clip readers img2dataset $(if $(DATACOMP),datacomp)
OUT := build/outside
test-outside: $(VENV)/.dev $(OUTSIDE:%=.venv-outside-%/.ready)
	$(BIN)/python -m tests.outside.pool $(OUT)
	.venv-outside-open_clip/bin/python -m tests.outside.train_open_clip $(OUT)
	.venv-outside-readers/bin/python -m tests.outside.read_back $(OUT)
	.venv-outside-img2dataset/bin/python -m tests.outside.score_crawl $(OUT)
	$(BIN)/python -m tests.outside.ray_two_nodes
	$(if $(DATACOMP),.venv-outside-datacomp/bin/python -m tests.outside.reshard $(OUT) $(DATACOMP)/resharder.py)

# Speed beside other packages, in rounds in turn, in one run each (see docs/results.md).
PEERS := .venv-outside-peers
bench-peers: $(PEERS)/.ready
	OMP_NUM_THREADS=1 NO_ALBUMENTATIONS_UPDATE=1 $(PEERS)/bin/python -m benchmarks.reading
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m benchmarks.clipscore_peers
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m benchmarks.clipscore_peers --resize torch
	$(PEERS)/bin/python benchmarks/selection.py --rows 12800000 --tables 128 --folder build/select \
	  --against duckdb,polars --rounds 3
	$(PEERS)/bin/python -m benchmarks.serve_peers

.venv-outside-%/.ready: tests/outside/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check -q install -r $<
	touch $@

# Every image-text-to-text type of transformers, with torchvision, which some of their processors need.
MODELS := .venv-models
test-models: $(MODELS)/.ready
	OMP_NUM_THREADS=1 $(MODELS)/bin/python -m tests.models.sweep --out tests/models/results.json
	$(MODELS)/bin/python -m tests.models.page

$(MODELS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(MODELS)
	$(MODELS)/bin/python -m pip --disable-pip-version-check -q install \
	  torch==2.14.1 torchvision==0.29.1 transformers==5.24.0 timm num2words -e .
	touch $@

# The lowest versions that pyproject.toml names, together. Torch's own is a CUDA build of gigabytes:
# the pinned one stands in for it. What runs the tests may not lift what they try.
LOWEST := .venv-lowest
UV = VIRTUAL_ENV=$(LOWEST) $(LOWEST)/bin/uv pip install -q
test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/pytest -n 2 --dist loadgroup

$(LOWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check -q install uv $(TORCH)
	echo '$(TORCH)' > $(LOWEST)/torch.txt
	$(UV) --resolution lowest-direct -c $(LOWEST)/torch.txt \
	  -e '.[demo,datasets,evaluate,lora,ray,s3,serve,teach,torchmetrics,train,balance]'
	$(LOWEST)/bin/python -m pip freeze --exclude-editable | grep -v @ > $(LOWEST)/lowest.txt
	$(UV) -c $(LOWEST)/lowest.txt build hatchling pytest pytest-xdist httpx2 hypothesis 'moto[server]' psutil webdataset
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(MODELS) $(HEAVY:%=.venv-%) .venv-outside-* demo-output build dist .mypy_cache .pytest_cache .ruff_cache
