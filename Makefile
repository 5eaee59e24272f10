# make run    boot a guest as sev-snp would have it, without the hardware
# make test   the tests, with real QEMUs and a real libvirt as far as they can be had
# make help   the rest

.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
EXAMPLE := examples/guest.toml
DISK := web.img
# pytest's arguments: make test ARGS="-k argv -x"
ARGS ?=

.PHONY: help
help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

# One .venv for everything; each stamp says which extras it holds for the present pyproject.toml.
$(VENV)/.with-%: pyproject.toml tools/setup-venv
	@tools/setup-venv $(filter-out nothing,$*)
	@touch $@ $(VENV)/.with-nothing

.PHONY: run
run: $(VENV)/.with-nothing $(DISK) ## boot the example guest as sev-snp would have it, without the hardware
	@command -v qemu-system-x86_64 >/dev/null || tools/need-packages qemu-system-x86
	@XDG_CACHE_HOME="$(CURDIR)/.cache" $(BIN)/sequester run --simulate sev-snp $(EXAMPLE)

# The disk that the example names, with something on it that the guest can recognise.
$(DISK): | $(VENV)/.with-nothing
	@$(BIN)/python -c 'import sys, pathlib, sequester.run.image as i; i.write_disk(pathlib.Path(sys.argv[1]))' $@

.PHONY: test
test: ## run the tests; ARGS is passed to pytest
	@$(MAKE) --silent --no-print-directory -j2 $(VENV)/.with-dev real-tools
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: real-tools
real-tools: ## fetch QEMU 7.2, 10.0, 11.1 and libvirt into .cache/real; tests that need them are skipped otherwise
	@python=$$(for p in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do \
	    $$p -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null && echo $$p && break; done); \
	$${python:-python3} tools/real-tools || true

.PHONY: lint
lint: $(VENV)/.with-dev ## ruff's rules, the format, and the types
	@status=0; \
	$(BIN)/ruff check --quiet || status=1; \
	$(BIN)/ruff format --check --quiet || { echo "not in format: see make format"; status=1; }; \
	$(BIN)/mypy || status=1; \
	MYPYPATH=src:tools $(BIN)/mypy -p realtools || status=1; \
	exit $$status

.PHONY: format
format: $(VENV)/.with-dev ## bring the code into its format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: bench
bench: $(VENV)/.with-dev ## measure the speed
	@if [ -f bench/__main__.py ]; then $(BIN)/python -m bench; else echo "there is no bench/__main__.py"; fi

.PHONY: fuzz
fuzz: $(VENV)/.with-dev ## the property tests, with a hundred times as many examples and another seed each time
	@$(BIN)/python -m pytest -m "not real_qemu and not real_libvirt" --hypothesis-profile=fuzz $(ARGS)

.PHONY: docs
docs: $(VENV)/.with-docs ## build the documentation into site/
	@if [ -f mkdocs.yml ]; then $(BIN)/mkdocs --quiet build --strict; else echo "there is no mkdocs.yml"; fi

.PHONY: clean
clean: ## remove what building and testing left; .venv and what was fetched stay
	rm -rf $(DISK) site dist build .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.PHONY: distclean
distclean: clean ## remove everything that is not in git
	rm -rf $(VENV) .cache
