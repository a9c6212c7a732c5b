# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Neighbours go to one worker, so that what a file's tests share is made and compiled once.
SPREAD := -n $(WORKERS) --dist worksteal

.PHONY: demo test test-all clean

# The stamp is remade when the requirements change; a half-made environment has none.
$(VENV)/installed: requirements.txt
	@echo "installing the packages of requirements.txt into $(VENV) ..."
	@start=$$(date +%s); \
	$(PYTHON) -m venv $(VENV) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt && \
	echo "installation took $$(( $$(date +%s) - start )) s" && touch $@

demo: $(VENV)/installed
	$(BIN)/python -m ddl_jax.demo --workdir=runs/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest $(SPREAD)

test-all: $(VENV)/installed
	$(BIN)/python -m pytest $(SPREAD) -m ""

clean:
	rm -rf $(VENV) runs/demo
