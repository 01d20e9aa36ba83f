# Two commands for a fresh machine: `make demo` and `make test`. Everything else is optional.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo test lint weights clean

demo: $(VENV)/.train
	$(BIN)/osteon demo --out $(DEMO)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The shipped model, from FracAtlas: three folds that measure it, the network itself, its two files. Two hours on two cores
# with `OMP_NUM_THREADS=1 make -j2 weights`, which trains two networks at a time; what was stopped goes on.
# speed.txt and gate.txt are what benchmarks/inference.py and benchmarks/gate.py measured: measure anew, then export again.
DATA ?= data/FracAtlas
RUNS ?= runs/fracture
QUIET := --no-audit --no-evaluate
FRACTURE := $(DATA) --reader fracatlas --preset fracture $(QUIET)
FOLDS := $(foreach fold,0 1 2,$(RUNS)/folds/fold-$(fold)/summary.json)
EXPORT = $(BIN)/osteon export $(RUNS)/all --calibration $(RUNS)/folds
NOTES = $(foreach text,speed gate,--note "$$(cat src/osteon/weights/$(text).txt)")
run = if test -f $(@D)/config.yaml; then $(BIN)/osteon train --resume $(@D) $(QUIET); \
  else $(BIN)/osteon train $(FRACTURE) $(1) --out $(@D); fi

$(FOLDS): $(RUNS)/folds/fold-%/summary.json: | $(VENV)/.dev
	$(call run,--folds 3 --set split.fold=$*)

$(RUNS)/all/summary.json: | $(VENV)/.dev
	$(call run,--set split.test=0)

weights: $(FOLDS) $(RUNS)/all/summary.json
	$(EXPORT) --name "Osteon fracture 2" $(NOTES) -o src/osteon/weights/fracture.onnx
	$(EXPORT) --name "Osteon fracture 2, int8" --precision int8 --no-card -o src/osteon/weights/fracture.int8.onnx
	rm -f src/osteon/weights/fracture.html

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info src/*.egg-info

# pip rather than a faster installer: it honours the constraints that an administrator sets system-wide.
$(VENV)/.train: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/.train
