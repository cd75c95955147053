# `make` prints what there is. Everything it makes lies in .venv/ and .oaas/; `make clean` removes both.

PYTHONS := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11
OAAS := .venv/bin/oaas

.DEFAULT_GOAL := help
.PHONY: help setup up demo test chaos soak bench lint format clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup:  ## install what is needed: .venv with the locked dependencies, and RabbitMQ; quick when all is there
	@for python in $(PYTHONS); do \
		if $$python -IS -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then exec $$python -I infra/dev/bootstrap.py; fi; \
	done; \
	echo "Python 3.11 or newer is needed and was not found; say where it is: make setup PYTHON=/path/to/python3.11" >&2; exit 1

up: setup  ## run the platform until Ctrl-C and print where it is
	@exec $(OAAS) up

demo: setup  ## play a story of orders that succeed, are refused and are compensated, and prove that nothing was lost
	@exec $(OAAS) demo

test: setup  ## lint, types, import rules and all tests; `make test WORDS="-k inventory"` passes words to pytest
	@.venv/bin/python infra/dev/verify.py $(WORDS)

chaos: setup  ## kill everything, everywhere, with 5 000 orders on their way: 25 minutes; `make chaos WORDS="--seed 7 --only coordinator"`
	@exec .venv/bin/python -m tests.chaos $(WORDS)

soak: setup  ## the same for an hour, with memory, queues, outbox and inbox printed; `make soak WORDS="--minutes 10"`
	@exec .venv/bin/python -m tests.chaos --minutes 60 $(WORDS)

bench: setup  ## measure sagas per second, CPU and latency; `make bench WORDS="--against dbos --against restate"`
	@exec $(OAAS) bench $(WORDS)

lint: setup  ## lint, types and import rules only
	@.venv/bin/python infra/dev/verify.py --lint-only

format: setup  ## format the code and mend what can be mended
	@.venv/bin/ruff check --quiet --fix . ; .venv/bin/ruff format --quiet .

clean:  ## remove .venv and .oaas, with all data in them
	@test ! -e .oaas/lock || ! command -v flock >/dev/null || flock --nonblock .oaas/lock true || { echo "a platform runs in .oaas: stop it first" >&2; exit 1; }
	@rm -rf .venv .oaas
