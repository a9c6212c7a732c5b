# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

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
	$(BIN)/python -m pytest -n $(WORKERS)

test-all: $(VENV)/installed
	$(BIN)/python -m pytest -n $(WORKERS) -m ""

clean:
	rm -rf $(VENV) runs/demo
