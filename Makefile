# make demo     the network of trusted servers, a federation, and processes that share a port, running
# make test     every test
# make check    lint, types, and the tests with coverage
# make test-lowest   every test, with the lowest versions of the dependencies
# make conformance   x509-limbo and NIST PKITS; SIPTLS_CONFORMANCE names the folder of the former
# make neighbours   what make interop does first: the programs that its tests need, by apt-get, as root
# make interop  the tests against six programs of others; as root it installs them by apt-get
# make bench    speed, side by side with the alternative
# make fuzz     bytes that find their own way, into each target for FUZZ_SECONDS (60)
# make soak     500 connections for 10 minutes, and what is left; CI has SOAK_SECONDS=60
# make siege    what a good client notices while thousands of strangers besiege the server
# make docs     the docs as a site, in docs/_build/html; a warning is an error
# make audit    known vulnerabilities of what siptls needs
# make wheel    the wheel, in dist/; make test INSTALL=dist/siptls-*.whl tests it instead of the source
# make release-check   builds what a release uploads, and tries it in a fresh environment; uploads nothing
# make constraints   constraints.txt anew: the versions that are tested, the newest of today
# make help     this
# make clean    all that make has made, but for dist/
#
# Each makes what it needs in .venv. Another Python: make test PYTHON=python3.13. What is passed
# on: make test ARGS="-k limits".

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif
ifeq ($(strip $(PYTHON)),)
$(error siptls needs Python 3.11 or later, and none was found: install one, or say PYTHON=path)
endif
VENV ?= .venv
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# What is installed: the source as it lies here, or a wheel.
INSTALL ?= --editable .
# The same versions each time.
PIP_INSTALL = $(BIN)/pip install --quiet --constraint constraints.txt
BIN := $(VENV)/bin
# One stamp for each step and Python version: another PYTHON makes the environment anew.
PACKAGE := $(VENV)/.package-$(VERSION)
TOOLS := $(VENV)/.tools-$(VERSION)

.PHONY: demo test check test-lowest conformance interop neighbours fuzz soak bench siege audit \
	docs wheel release-check constraints help clean

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
	$(PIP_INSTALL) --group conformance
	$(BIN)/python -m pytest tests/conformance $(ARGS)

# What the tests run, by Debian's names. Whatever is absent is skipped, and says so.
NEIGHBOURS := kamailio kamailio-tls-modules sip-tester stunnel4 baresip-core linphone-cli \
	gnutls-bin openssl sslscan dnsmasq-base iproute2

neighbours:
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			$(NEIGHBOURS) >/dev/null || echo "not all of them could be installed: $(NEIGHBOURS)"; \
	else echo "this needs root and apt-get; what is absent is skipped: $(NEIGHBOURS)"; fi

interop: $(TOOLS) neighbours
	$(BIN)/python -m pytest tests/interop $(ARGS)

bench: $(PACKAGE)
	$(PIP_INSTALL) --group bench
	$(BIN)/python benchmarks/compare.py $(ARGS)
	$(BIN)/python benchmarks/federation.py

SOAK_SECONDS ?= 600
soak: $(PACKAGE)
	$(BIN)/python soak/soak.py $(SOAK_SECONDS)

# What breaks a law is written to fuzz/runs/<target>/; see fuzz/harness.py.
FUZZ_SECONDS ?= 60
fuzz: $(PACKAGE)
	$(PIP_INSTALL) --group fuzz
	$(BIN)/python -m fuzz.harness --seconds $(FUZZ_SECONDS) $(ARGS)

siege: $(PACKAGE)
	$(BIN)/python benchmarks/siege.py $(ARGS)

audit: $(PACKAGE)
	$(PIP_INSTALL) --group audit
	$(BIN)/python .ci/audit.py

# Without what an earlier build has left; -n: a reference that leads nowhere is a warning.
docs: $(PACKAGE)
	$(PIP_INSTALL) --group docs
	rm -rf docs/_build
	$(BIN)/sphinx-build -n -W --keep-going --quiet -b html -d docs/_build/doctrees docs docs/_build/html

wheel:
	rm -rf dist
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

release-check: $(TOOLS)
	$(PIP_INSTALL) --group release
	$(BIN)/python .ci/release_check.py $(ARGS)

constraints: NEWEST := $(VENV)-newest
constraints:
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(NEWEST)/bin/pip install --quiet . $(foreach group,test frameworks check conformance bench fuzz audit docs release,--group $(group))
	echo '# The versions that are tested, on each Python; `make constraints` writes this file.' > constraints.txt
	$(NEWEST)/bin/pip freeze --exclude siptls >> constraints.txt
	rm -rf $(NEWEST)

test-lowest: LOWEST := $(VENV)-lowest
test-lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(PYTHON) -c "$$PINS" > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/pip install --quiet --constraint $(LOWEST)/lowest.txt $(INSTALL) --group test
	$(LOWEST)/bin/python -m pytest $(ARGS)

define PINS
import re, tomllib
def name(requirement):
    return re.split("[=>]", requirement)[0].lower()
with open("pyproject.toml", "rb") as file:
    lowest = [one.replace(">=", "==") for one in tomllib.load(file)["project"]["dependencies"]]
with open("constraints.txt") as file:
    others = [one for one in file.read().splitlines() if name(one) not in map(name, lowest)]
print(*lowest, *others, sep="\n")
endef
export PINS

$(PACKAGE): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(PIP_INSTALL) $(INSTALL)
	@touch $@

$(TOOLS): $(PACKAGE)
	$(PIP_INSTALL) --group test --group frameworks --group check
	@touch $@

clean:
	rm -rf .venv .venv-* .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis docs/_build
