# make demo   the whole path on text of this machine, then a report
# make test   the test suite, two workers, the ten slowest printed
# make test_all   the same with the slowest, with tools and the notebook
# make lint   ruff and pyright
# make bench  the project against its peers (installs PyTorch)
# make clean  removes .venv and every cache
#
# make PYTHON=python3.12 test   uses another Python (3.11 to 3.13)

VERSION_OK := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c '$(VERSION_OK)' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
endif
BIN := .venv/bin
STAMP := .venv/installed-$(shell $(PYTHON) -c \
  'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
APT := sudo apt install git make python3 python3-venv

.PHONY: demo test test_all lint bench clean

demo: $(STAMP)
	@$(BIN)/jaxcurate demo

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=10 -m 'not slow'

test_all: $(STAMP)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=10

lint: $(STAMP)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || \
	  { echo 'lint: not formatted; run .venv/bin/ruff format .' >&2; exit 1; }
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)
	@$(BIN)/python -m pip install -q -e '.[parity]'
	@$(BIN)/python tools/bench_scoring.py
	@$(BIN)/python tools/bench_training.py

clean:
	@rm -rf .venv .jax_cache .pytest_cache .ruff_cache build dist *.egg-info

# Installs again whenever pyproject.toml is newer than the last installation;
# another Python, or an installation that was cut short, starts afresh.
$(STAMP): pyproject.toml
	@command -v git >/dev/null || \
	  { echo 'git is missing. Run: $(APT)' >&2; exit 1; }
	@$(PYTHON) -c '' 2>/dev/null || \
	  { echo '$(PYTHON) does not run. Run: $(APT)' >&2; exit 1; }
	@$(PYTHON) -c '$(VERSION_OK)' || \
	  { echo "jaxcurate needs Python 3.11 to 3.13, $(PYTHON) is" \
	  "$$($(PYTHON) -V 2>&1). Run: sudo apt install python3.11" \
	  'python3.11-venv && make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'python venv is missing. Run: $(APT)' >&2; exit 1; }
	@test -e $@ || { echo 'Installing into .venv (once; some minutes) ...'; \
	  $(PYTHON) -m venv --clear .venv; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@
