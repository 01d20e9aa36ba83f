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

# The shipped models, from FracAtlas: a network that looks at more pixels teaches another, in each of three folds, which
# measure it, and once more with all images; that one learns to see turned radiographs, then such as other machines and
# archives would have made, each time averaged with what it was, and is shipped; what it was before both teaches a narrower
# one, made of itself, which then learns both at once; then their files. About seven hours on two cores with `OMP_NUM_THREADS=1 make -j2 weights`, which trains two
# networks at a time; what was stopped goes on. speed*.txt, gate*.txt and altered*.txt are what benchmarks/inference.py,
# gate.py and alterations.py measured: measure anew, then export again.
DATA ?= data/FracAtlas
RUNS ?= runs/fracture
TEACHER := $(RUNS)/teacher
TURNED := $(RUNS)/turned
ROBUST := $(RUNS)/robust
SLIM := $(RUNS)/slim
FAST := $(RUNS)/fast
QUIET := --no-audit --no-evaluate
FOLD := folds/fold-%/summary.json
FOLDS = $(foreach fold,0 1 2,$(1)/folds/fold-$(fold)/summary.json)
EXPORT = $(BIN)/osteon export $(1)/all --calibration $(1)/folds --closer-look 0.6
NOTES = $(foreach text,$(1),--note "$$(cat src/osteon/weights/$(text).txt)")
run = if test -f $(@D)/config.yaml; then $(BIN)/osteon train --resume $(@D) $(QUIET); \
  else $(BIN)/osteon train $(DATA) --reader fracatlas --preset $(1) $(QUIET) --out $(@D); fi
taught_by = --set 'training.teachers=[$(1)]'
# The run $(1), which goes on with turned radiographs.
turned = if test -f $(@D)/config.yaml; then $(BIN)/osteon train --resume $(@D) $(QUIET); else \
  $(BIN)/osteon train --preset $(1)/config.yaml --weights $(1) --epochs 8 --set augment.quarter_turns=0.5 \
  --set training.keep_initial=0.5 $(QUIET) --out $(@D); fi
# The run $(1), which goes on with corrupted radiographs, too.
robust = if test -f $(@D)/config.yaml; then $(BIN)/osteon train --resume $(@D) $(QUIET); else \
  $(BIN)/osteon train --preset $(1)/config.yaml --weights $(1) --epochs 8 --set augment.corruptions=0.5 \
  --set augment.rotation=45 --set 'augment.scale=[0.6,1.8]' --set training.keep_initial=0.75 $(QUIET) --out $(@D); fi
# What has half of the multiply-adds of the run $(1), taught by $(2).
start = $(@D:$(SLIM)/%=$(SLIM)/start/%)
slimmed = if test -f $(@D)/config.yaml; then $(BIN)/osteon train --resume $(@D) $(QUIET); else \
  { test -f $(start)/checkpoints/best.ckpt || $(BIN)/osteon slim $(1) --keep 0.5 --out $(start); } && \
  $(BIN)/osteon train --preset $(start)/config.yaml --weights $(start) --epochs 10 --set training.freeze=0 \
  $(call taught_by,$(2)) $(QUIET) --out $(@D); fi
# The narrow run $(1), which goes on with turned and corrupted radiographs and the same teacher.
fast = if test -f $(@D)/config.yaml; then $(BIN)/osteon train --resume $(@D) $(QUIET); else \
  $(BIN)/osteon train --preset $(1)/config.yaml --weights $(1) --epochs 8 --set augment.quarter_turns=0.5 \
  --set augment.corruptions=0.3 --set training.keep_initial=0.5 $(QUIET) --out $(@D); fi

.PRECIOUS: $(TEACHER)/$(FOLD) $(RUNS)/$(FOLD) $(TURNED)/$(FOLD) $(SLIM)/$(FOLD)
$(TEACHER)/$(FOLD): | $(VENV)/.dev
	$(call run,fracture_teacher --folds 3 --set split.fold=$*)

$(TEACHER)/all/summary.json: | $(VENV)/.dev
	$(call run,fracture_teacher --set split.test=0)

$(RUNS)/$(FOLD): $(TEACHER)/$(FOLD)
	$(call run,fracture --folds 3 --set split.fold=$* $(call taught_by,$(TEACHER)/folds))

$(RUNS)/all/summary.json: $(TEACHER)/all/summary.json
	$(call run,fracture --set split.test=0 $(call taught_by,$(TEACHER)/all))

$(TURNED)/$(FOLD): $(RUNS)/$(FOLD)
	$(call turned,$(RUNS)/folds/fold-$*)

$(TURNED)/all/summary.json: $(RUNS)/all/summary.json
	$(call turned,$(RUNS)/all)

$(ROBUST)/$(FOLD): $(TURNED)/$(FOLD)
	$(call robust,$(TURNED)/folds/fold-$*)

$(ROBUST)/all/summary.json: $(TURNED)/all/summary.json
	$(call robust,$(TURNED)/all)

$(SLIM)/$(FOLD): $(RUNS)/$(FOLD)
	$(call slimmed,$(RUNS)/folds/fold-$*,$(RUNS)/folds)

$(SLIM)/all/summary.json: $(RUNS)/all/summary.json
	$(call slimmed,$(RUNS)/all,$(RUNS)/all)

$(FAST)/$(FOLD): $(SLIM)/$(FOLD)
	$(call fast,$(SLIM)/folds/fold-$*)

$(FAST)/all/summary.json: $(SLIM)/all/summary.json
	$(call fast,$(SLIM)/all)

weights: $(foreach run,$(ROBUST) $(FAST),$(call FOLDS,$(run)) $(run)/all/summary.json)
	$(call EXPORT,$(ROBUST)) --name "Osteon fracture 6" $(call NOTES,chosen speed gate altered) -o src/osteon/weights/fracture.onnx
	$(call EXPORT,$(ROBUST)) --name "Osteon fracture 6, int8" --precision int8 --no-card $(call NOTES,chosen) \
	  -o src/osteon/weights/fracture.int8.onnx
	$(call EXPORT,$(FAST)) --name "Osteon fracture 6, fast" $(call NOTES,chosen speed.fast gate.fast altered.fast) \
	  -o src/osteon/weights/fracture.fast.onnx
	rm -f src/osteon/weights/*.html

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
