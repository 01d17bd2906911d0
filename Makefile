# make demo     the network of trusted servers, a federation, and processes that share a port, running
# make test     every test
# make check    lint, types, and the tests with coverage
# make test-lowest   every test, with the lowest versions of the dependencies
# make conformance   x509-limbo and NIST PKITS; SIPTLS_CONFORMANCE names the folder of the former
# make bench    speed, side by side with the alternative
#
# Each makes what it needs in .venv. Another Python: make test PYTHON=python3.13

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
ifeq ($(strip $(PYTHON)),)
$(error siptls needs Python 3.11 or later, and none was found: install one, or say PYTHON=path)
endif
VENV ?= .venv
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := $(VENV)/bin
# One stamp for each step and Python version: another PYTHON makes the environment anew.
PACKAGE := $(VENV)/.package-$(VERSION)
TOOLS := $(VENV)/.tools-$(VERSION)

.PHONY: demo test check test-lowest conformance bench help clean

help:
	@sed -n 's/^# make /make /p' Makefile

demo: $(PACKAGE)
	$(BIN)/python examples/trusted_network.py
	$(BIN)/python examples/federation.py
	$(BIN)/python examples/many_processes.py

test: $(TOOLS)
	$(BIN)/python -m pytest $(ARGS)

check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage report
	$(BIN)/coverage run -m pytest -q $(TRUST_TESTS)
	$(BIN)/coverage report --include 'src/siptls/trust/*' --fail-under=100

# The rules about trust are covered whole by their own unit tests, without any other.
TRUST_TESTS := $(patsubst src/siptls/trust/%.py,tests/unit/test_%.py,\
	$(filter-out %/__init__.py,$(wildcard src/siptls/trust/*.py)))

conformance: $(TOOLS)
	$(BIN)/pip install --quiet --group conformance
	$(BIN)/python -m pytest tests/conformance $(ARGS)

bench: $(PACKAGE)
	$(BIN)/pip install --quiet --group bench
	$(BIN)/python benchmarks/compare.py $(ARGS)
	$(BIN)/python benchmarks/federation.py

test-lowest: LOWEST := $(VENV)-lowest
test-lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(PYTHON) -c "$$PINS" > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/pip install --quiet --constraint $(LOWEST)/lowest.txt --editable . --group test
	$(LOWEST)/bin/python -m pytest $(ARGS)

define PINS
import tomllib
with open("pyproject.toml", "rb") as file:
    for dependency in tomllib.load(file)["project"]["dependencies"]:
        print(dependency.replace(">=", "=="))
endef
export PINS

$(PACKAGE): pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(TOOLS): $(PACKAGE)
	$(BIN)/pip install --quiet --group test --group frameworks --group check
	@touch $@

clean:
	rm -rf .venv .venv-* .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
