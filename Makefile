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

# The shipped model, from FracAtlas: a network that looks at more pixels teaches the one that is shipped, in each of three
# folds, which measure it, and once more with all images; then its two files. Three hours on two cores with
# `OMP_NUM_THREADS=1 make -j2 weights`, which trains two networks at a time; what was stopped goes on.
# speed.txt and gate.txt are what benchmarks/inference.py and benchmarks/gate.py measured: measure anew, then export again.
DATA ?= data/FracAtlas
RUNS ?= runs/fracture
TEACHER := $(RUNS)/teacher
QUIET := --no-audit --no-evaluate
FOLD := folds/fold-%/summary.json
FOLDS := $(foreach fold,0 1 2,$(RUNS)/folds/fold-$(fold)/summary.json)
EXPORT = $(BIN)/osteon export $(RUNS)/all --calibration $(RUNS)/folds --closer-look 0.6
NOTES = $(foreach text,speed gate,--note "$$(cat src/osteon/weights/$(text).txt)")
run = if test -f $(@D)/config.yaml; then $(BIN)/osteon train --resume $(@D) $(QUIET); \
  else $(BIN)/osteon train $(DATA) --reader fracatlas --preset $(1) $(QUIET) --out $(@D); fi
taught_by = --set 'training.teachers=[$(1)]'

.PRECIOUS: $(TEACHER)/$(FOLD)
$(TEACHER)/$(FOLD): | $(VENV)/.dev
	$(call run,fracture_teacher --folds 3 --set split.fold=$*)

$(TEACHER)/all/summary.json: | $(VENV)/.dev
	$(call run,fracture_teacher --set split.test=0)

$(RUNS)/$(FOLD): $(TEACHER)/$(FOLD)
	$(call run,fracture --folds 3 --set split.fold=$* $(call taught_by,$(TEACHER)/folds))

$(RUNS)/all/summary.json: $(TEACHER)/all/summary.json
	$(call run,fracture --set split.test=0 $(call taught_by,$(TEACHER)/all))

weights: $(FOLDS) $(RUNS)/all/summary.json
	$(EXPORT) --name "Osteon fracture 4" $(NOTES) -o src/osteon/weights/fracture.onnx
	$(EXPORT) --name "Osteon fracture 4, int8" --precision int8 --no-card -o src/osteon/weights/fracture.int8.onnx
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
