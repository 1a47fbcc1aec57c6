# make demo   everything from nothing: environment, data, every method on seeds 1 2 3, tables and figures
# make test   the tests, in a random order; make test SLOW=1 with the slow cases
# make lint   ruff and mypy
#
# PYTHON is the interpreter the environment is made with (3.11 or newer), VENV where it is made.

PYTHON ?= python3
VENV ?= .venv

run := "$(CURDIR)/$(VENV)/bin/python"
ready := $(VENV)/.ready

.PHONY: demo test lint

demo: $(ready)
	PYTHON=$(run) bash scripts/demo.sh

test: $(ready)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(run) -m pytest -n 2 --dist worksteal $(if $(SLOW),--slow)

lint: $(ready)
	$(run) -m ruff check .
	$(run) -m ruff format --check .
	$(run) -m mypy

$(ready): requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(run) -m pip install --quiet --upgrade pip
	$(run) -m pip install --quiet --requirement requirements.txt
	touch $@
