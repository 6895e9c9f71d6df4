# make repro   set-up, then the whole study: data -> stand-ins -> training -> evaluation -> figures -> paper.pdf
# make test    set-up, then every test and every notebook at the smoke profile
PROFILE ?= small
VENV    := .venv
STAMP   := $(VENV)/.installed
# first Python that is new enough; only used to create the environment
PYTHON  ?= $(shell command -v python3.11 || command -v python3)

SHELL := /bin/bash
# DVC stages and notebook kernels call `uoisc` and `python`: they must be this environment's
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# uv reads its own variable for a folder of local wheels (pip reads PIP_FIND_LINKS by itself)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# nothing is ever downloaded: a call that would, fails at once instead of waiting for a time-out
export HF_HUB_OFFLINE := 1

.PHONY: repro test setup lock bench lab lint clean

# The published profile runs in place; any other runs in a copy, so that results/ and paper/ stay untouched.
repro: $(STAMP)
ifeq ($(PROFILE),small)
	dvc repro
else
	COPY=build/repro-$(PROFILE); rm -rf $$COPY && mkdir -p $$COPY \
	&& git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t $$COPY \
	&& cd $$COPY && echo placeholder
endif
