# make demo   everything from nothing: environment, data, every method on seeds 1 2 3, tables and figures
# make test   the tests, in a random order; make test SLOW=1 with the slow cases. Bytecode is kept, whatever is set
#             elsewhere: else each worker and each program that a test starts would compile all anew
# make lint   ruff and mypy
# make campaign   what is survived: damaged and foreign files, kills, full disks; SEED=2 draws others (9 minutes)
# make hosts CHECKOUTS=dir   MPL in checkouts of other codebases of the family, whose folder that is, by each way there is;
#             what is missing is said with the command that makes it. ONLY="CoOp MaPLe" takes some of them. Rows that are in
#             build/hosts.json are not run again
# make card   on a machine with a GPU: a table of what is asked of it; FULL=1 has more class counts, REFERENCE=dir the code of a
#             checkout of the official MPL repository. WHEELS=dir takes Python's packages from that folder, and PyTorch from
#             the system. No GPU has run it
# make docs   the pages of docs/ and an API reference, into site/
# make wheel  the package, into build/wheel/, and whether it starts in an environment of its own
#
# PYTHON is the interpreter the environment is made with (3.10 or newer), VENV where it is made. CONSTRAINTS=constraints.txt
# takes the exact versions that the README's figures were made with, and not the newest. TESTS names files, for some tests.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?=
TESTS ?=
CHECKOUTS ?=
ONLY ?=
SEED ?= 1
FULL ?=
REFERENCE ?=
WHEELS ?=

run := "$(CURDIR)/$(VENV)/bin/python"
ready := $(VENV)/.ready$(addprefix -,$(notdir $(CONSTRAINTS)))

.PHONY: demo test lint card docs wheel campaign hosts

demo: $(ready)
	PYTHON=$(run) bash scripts/demo.sh

test: $(ready)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" env -u PYTHONDONTWRITEBYTECODE $(run) -m pytest -n 2 --dist worksteal $(if $(SLOW),--slow) $(TESTS)

lint: $(ready)
	$(run) -m ruff check .
	$(run) -m ruff format --check .
	$(run) -m mypy

card: $(if $(WHEELS),$(VENV)/.ready-wheels,$(ready))
	$(run) -m benchmarks.card $(if $(FULL),--full) $(if $(REFERENCE),--reference "$(REFERENCE)")

campaign: $(ready)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(run) -m tests.campaign --seed $(SEED)

hosts: $(ready)
	mkdir -p build
	$(run) -m tests.hosts.check "$(or $(CHECKOUTS),$(error make hosts CHECKOUTS=dir: the folder of the checkouts))" $(if $(ONLY),--only $(ONLY))

docs: $(ready)
	NO_MKDOCS_2_WARNING=1 $(run) -m mkdocs build --strict

wheel: $(ready)
	rm -rf build/wheel
	$(run) -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(run) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet --no-deps build/wheel/*.whl
	cd build/wheel && venv/bin/modprompt --version && ls *.whl

$(ready): requirements.txt $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(run) -m pip install --quiet --upgrade pip
	$(run) -m pip install --quiet --requirement requirements.txt $(addprefix --constraint ,$(CONSTRAINTS))
	rm -f $(VENV)/.ready*
	touch $@

$(VENV)/.ready-wheels:
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(run) -m pip install --quiet --no-index --no-deps $(WHEELS)/*.whl
	touch $@
