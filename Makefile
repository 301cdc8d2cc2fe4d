# Each target does its own set-up in .venv. `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
EDITABLE := $(foreach plugin,$(PLUGINS),-e $(dir $(plugin)))

.PHONY: demo test test-full lint fix bench docs clean

$(VENV)/.installed: pyproject.toml $(PLUGINS)
	@echo "installing restorekit, its plugins, PyTorch and what they need into $(VENV): minutes, some GB to download"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[tensorboard,demo]' $(EDITABLE)
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[tensorboard,demo,ray,test,docs]'
	touch $@

demo: $(VENV)/.installed  ## restore a real film, then train, score and report on phantoms: minutes on a CPU
	$(BIN)/restorekit models demo
	$(BIN)/restorekit run recipes/quickstart_paired.yaml

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## lint, types, and every test that is not slow
	$(BIN)/python -m pytest -m "not full" -n 2 --dist loadfile --no-loadscope-reorder

test-full: $(VENV)/.tools  ## the slow ones: kill loops, slow recipes
	$(BIN)/python -m pytest -m full -n 2 --dist loadfile --timeout 2400

fix: $(VENV)/.tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.tools  ## time and memory as ratios to a plain port, then pytest-benchmark's own tables
	$(BIN)/python benchmarks/bench_training.py
	$(BIN)/python plugins/restorekit-selfonn/benchmarks/bench_layer.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_reading.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_data_check.py
	OMP_NUM_THREADS=1 $(BIN)/python plugins/restorekit-kornia/benchmarks/bench_degradations.py
	MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 $(BIN)/python -m pytest benchmarks plugins/*/benchmarks \
		-o python_files='bench_*.py' -o addopts='--import-mode=importlib' --benchmark-only --benchmark-disable-gc

docs: $(VENV)/.tools  ## write what is generated, then build the site
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache
