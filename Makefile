# Each door makes .venv when it is missing and reinstalls when settings.ini or constraints.txt changed.
#   make tour      the whole course as one command        make test      what CI runs
#   make lab       JupyterLab                             make verify    everything that takes longer
#   make outputs   store notebook outputs anew where something changed
#   make measure   minutes and memory of every notebook   make results   the long experiments   make bench   speed beside a peer
#   make base      train checkpoints/docs-6m again, an hour of one core
# TORCH_INDEX=https://... takes torch from that index; PYTHON=python3.12 chooses the Python of a new .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
INDEX := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export OMP_NUM_THREADS ?= 1

.PHONY: tour test verify lab base bench measure outputs results readme
.DELETE_ON_ERROR:

tour: $(VENV)/core
	$(BIN)/minillm tour $(ARGS)

test: $(VENV)/full
	$(BIN)/python tools/parts.py test

verify: $(VENV)/full
	$(BIN)/python tools/parts.py verify

lab: $(VENV)/full
	$(BIN)/jupyter lab nbs

base bench measure outputs results readme: $(VENV)/full
	$(BIN)/python tools/$@.py $(ARGS)

$(VENV)/core: settings.ini constraints.txt setup.py
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } || \
		{ rm -rf $(VENV); echo "no virtual environment: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(PIP) $(INDEX) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/full: $(VENV)/core
	$(PIP) -c constraints.txt -e ".[corpus,hf,track,scale,course,dev]"
	touch $@
