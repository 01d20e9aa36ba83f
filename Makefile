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

# The shipped model, from FracAtlas: three folds that measure it, the network itself, its two files. Hours, not minutes.
# speed.txt and gate.txt are what benchmarks/inference.py and benchmarks/gate.py measured: measure anew, then export again.
DATA ?= data/FracAtlas
RUNS ?= runs/fracture
FRACTURE := $(BIN)/osteon train $(DATA) --reader fracatlas --preset fracture --no-audit --no-evaluate
weights: $(VENV)/.dev
	$(FRACTURE) --folds 3 --out $(RUNS)/folds
	test -f $(RUNS)/all/summary.json || $(FRACTURE) --set split.test=0 --out $(RUNS)/all
	$(BIN)/osteon export $(RUNS)/all --calibration $(RUNS)/folds --name "Osteon fracture 1" \
	  --note "$$(cat src/osteon/weights/speed.txt)" --note "$$(cat src/osteon/weights/gate.txt)" -o src/osteon/weights/fracture.onnx
	$(BIN)/osteon export $(RUNS)/all --calibration $(RUNS)/folds --name "Osteon fracture 1, int8" --precision int8 \
	  --no-card -o src/osteon/weights/fracture.int8.onnx
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
