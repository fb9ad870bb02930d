# Every target sets up .venv by itself; `make PYTHON=python3.12 test` chooses the interpreter for it.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test kernels lint types coverage clean

demo: .venv/.runtime
	@$(BIN)/vitref demo

test: .venv/.development
	$(BIN)/pytest

# The CUDA kernels: compiled for three kinds of GPU, and run on the CPU. Needs g++, and 400 MB of wheels.
kernels: .venv/.kernels
	VITREF_REQUIRE_CUDA_CHECKS=1 $(BIN)/pytest tests/cuda

lint: .venv/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# On the installed wheel and away from the checkout: only there do backends/ and weights/ lie where
# they are imported from. The tests come along as one more package.
types: .venv/.development
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; root=$$PWD; \
	$(BIN)/python -m build --no-isolation --outdir "$$folder/dist" . > "$$folder/log" 2>&1 \
	    || { cat "$$folder/log"; exit 1; }; \
	$(BIN)/python -m pip install -qq --no-deps --target "$$folder/site" "$$folder"/dist/*.whl; \
	cp -R tests "$$folder/site"; cd "$$folder/site"; \
	echo "mypy --strict -p vitref -p tests"; \
	"$$root/$(BIN)/mypy" --strict --cache-dir "$$root/.mypy_cache" -p vitref -p tests

coverage: .venv/.development
	$(BIN)/coverage run $(BIN)/pytest
	$(BIN)/coverage report

clean:
	rm -rf .venv build dist *.egg-info .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    "vitref needs Python 3.11 or newer, found %s. Name another: make PYTHON=python3.12" % sys.version.split()[0])'
	@echo "Creating .venv ..."
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.runtime: pyproject.toml | .venv/bin/python
	@echo "Installing vitref into .venv ..."
	@$(BIN)/python -m pip install -qq --editable .
	@touch $@

.venv/.development: pyproject.toml | .venv/bin/python
	@echo "Installing vitref and its development tools into .venv ..."
	@$(BIN)/python -m pip install -qq --editable '.[test,train,dev]'
	@touch .venv/.runtime $@

.venv/.kernels: pyproject.toml | .venv/.development
	@echo "Installing CUDA's compiler and headers into .venv ..."
	@$(BIN)/python -m pip install -qq --editable '.[kernels]'
	@touch $@
