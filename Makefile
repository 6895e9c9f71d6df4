# make repro                 set-up, then the whole study: data, stand-ins, training, evaluation, figures, paper.pdf
# make repro PROFILE=smoke   the same in minutes, in a copy under build/; its numbers mean nothing
# make repro PROFILE=paper_smoke   the paper's own setting, tiny: photographs, CLIP and LLaVAs as published, generated
# make test                  set-up, then every test, and every notebook, also at the smoke profile; those of a GPU where one is
# make seeds                 five fresh runs of what the claims need, each in a copy: results/runs, seeds.csv, runs.csv
# make trials               the same settings tried on each method, another category held out: results/trials.csv
# make notebooks            all notebooks, run and saved with what is published
# make bench | lab | lint | setup | lock | clean

VENV  := .venv
STAMP := $(VENV)/.installed
# the first word after a key of params.yaml, be it in [a list], in rows or in quotes
first    = $(shell awk '/^$(1):/ {on = 1; sub(/^[a-z]*:/, "")} on {sub(/\#.*/, ""); \
  if (match($$0, /[A-Za-z0-9_][A-Za-z0-9_-]*/)) {print substr($$0, RSTART, RLENGTH); exit}}' params.yaml 2>/dev/null)
ACTIVE  := $(call first,active)
PROFILE ?= $(ACTIVE)
# where the active profile writes: here, if it is the published one
INTO    := $(if $(filter $(ACTIVE),$(call first,published)),,build/$(ACTIVE)/)
# of the copy, where it is not the profile's own
SEED    ?=
COPY    := build/repro-$(PROFILE)$(SEED:%=-%)
STAGES  ?=
SEEDS   ?= 30 40 50 60 70
# of fresh runs, what contrasts are measured in; kept in git
RUNS     := results/runs
MEASURED := results/answers.parquet results/entropy.csv results/machine.json results/foundation.csv dvc.lock
# what stages write in the place of what is published here: no copy takes it; one that has run keeps its own, and its lock
OUTS     := $(shell sed -nE 's/^ *- \$$\{([a-z]+)\}(.*): \{cache: false\}$$/\1\2/p' dvc.yaml 2>/dev/null | paste -sd '|' -)
OWN      := dvc\.lock|README\.md|docs/results\.md|$(OUTS)
# what every stage of training waits for, then all of them in one pool; not where other stages alone are asked for
AHEAD   := $(if $(filter-out evaluation rate,$(STAGES)),,dvc repro foundation && uoisc ahead &&)
# only makes the environment; from then on the environment's own Python runs
PYTHON  ?= $(shell command -v python3.11 || command -v python3)

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# DVC's stages and the notebooks' kernels call `uoisc` and `python`: this environment's, activated or not
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# pip reads PIP_FIND_LINKS (a folder of local wheels) by itself, uv wants its own name for it
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# no model hub is ever asked: a call that would ask one fails at once
export HF_HUB_OFFLINE := 1
# transformers asks for a progress widget that nothing here draws; the warning would name this machine's folders
export PYTHONWARNINGS := ignore:IProgress not found

.PHONY: repro seeds trials notebooks test setup lock bench lab lint clean

repro: $(STAMP) $(if $(filter paper_smoke,$(PROFILE)),data/generated)
ifeq ($(PROFILE)$(SEED),$(ACTIVE))
	uoisc info --profile $(PROFILE)
	uoisc plan $(STAGES)
	$(AHEAD) dvc repro $(STAGES)
	uoisc info --profile $(PROFILE)
	@echo "done: $(INTO)results/summary.csv, $(INTO)results/claims.json, $(INTO)paper/paper.pdf, $(INTO)docs/index.html"
else
	@# A copy of the tree as it stands, where another profile is active and published. What an earlier run there trained
	@# and measured is kept, with its lock: so DVC runs again what rests on other code or parameters, nothing else.
	mkdir -p $(COPY) && find $(COPY) -mindepth 1 -maxdepth 1 ! -name .dvc ! -name dvc.lock ! -name data ! -name build \
	  ! -name README.md ! -name results ! -name paper ! -name docs -exec rm -rf {} +
	test -e $(COPY)/dvc.lock && own='^($(OWN))(/|$$)' || own='^($(OUTS))(/|$$)'; \
	(cd $(COPY) && { find README.md results paper docs -type f 2>/dev/null || true; } | while IFS= read -r file; do \
	  if [[ ! $$file =~ $$own ]]; then rm "$$file"; fi; done; find results paper docs -type d -empty -delete 2>/dev/null || true); \
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do \
	  if test -e "$$file" && [[ ! $$file =~ $$own ]]; then printf '%s\0' "$$file"; fi; done | \
	  tar -c --null -T - | tar -x -C $(COPY)
	@# Photographs and models lie where the profile says, outside git: as links, but for what profiles write themselves.
	for place in data/* models; do \
	  test ! -e $$place -o -e $$place/source -o -e $$place/published -o $$place = data/$(PROFILE) -o -e $(COPY)/$$place || \
	  ln -sfn "$(CURDIR)/$$place" $(COPY)/$$place; done
	cd $(COPY) && git init -q && export PYTHONPATH=$$PWD && uoisc activate $(PROFILE) --publish $(SEED:%=--seed %) && \
	  uoisc info --profile $(PROFILE) && uoisc plan $(STAGES) && $(AHEAD) dvc repro $(STAGES) && \
	  uoisc info --profile $(PROFILE)
	@echo "done: see $(COPY)/results/, $(COPY)/paper/, $(COPY)/docs/index.html"
endif

# what the profile paper_smoke reads
data/generated: $(addprefix benchmarks/,paper_smoke.py tiny_models.py tiny_vqav2.py) | $(STAMP)
	python -m benchmarks.paper_smoke

seeds: $(STAMP)
	@# A run that is in results/runs is done; another goes on where it stopped, and what is left is judged by the longest so
	@# far. What frozen models made of training images is not kept for a run that is done.
	todo=(); for seed in $(SEEDS); do test -e $(RUNS)/$$seed || todo+=($$seed); done; left=$${#todo[@]}; longest=0; \
	for seed in $${todo[@]+"$${todo[@]}"}; do copy=build/repro-seeds-$$seed; kept=$(RUNS)/.$$seed; begin=$$SECONDS; \
	  $(MAKE) repro PROFILE=seeds SEED=$$seed STAGES="evaluation rate"; \
	  rm -rf $$copy/data/seeds/source_work $$kept; mkdir -p $$kept; cp $(MEASURED:%=$$copy/%) $$kept; \
	  mv $$kept $(RUNS)/$$seed; took=$$((SECONDS - begin)); left=$$((left - 1)); \
	  if test $$took -gt $$longest; then longest=$$took; fi; \
	  echo "seed $$seed: kept in $(RUNS)/$$seed; $$left runs and about $$((left * longest / 60)) minutes left"; done
	uoisc seeds --force $(RUNS)/*

trials: $(STAMP)
	python -m benchmarks.trials

test: $(STAMP)
	TQDM_DISABLE=1 pytest --nbval --nbval-current-env -n logical --maxprocesses 8 --no-loadscope-reorder --durations 15
	if nvidia-smi >/dev/null 2>&1; then TQDM_DISABLE=1 pytest -m gpu tests/test_gpu.py; fi

notebooks: $(STAMP)
	python tests/run_notebooks.py notebooks

bench: $(STAMP)
	python -m benchmarks.step

lab: $(STAMP)
	UOISC_BARS=1 jupyter lab notebooks

lint: $(STAMP)
	ruff check . && ruff format --check uoisc tests benchmarks

setup: $(STAMP)

# Byte code is compiled now, once: without it each start of a stage costs seconds where Python may not write any.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no python3 on PATH: install Python 3.11 or later"; exit 2; }
	@if command -v uv >/dev/null; then \
	  set -x; test -x $(VENV)/bin/python || uv venv --python "$(PYTHON)" $(VENV); \
	  uv pip install --python $(VENV)/bin/python --compile-bytecode -r requirements.lock; \
	  uv pip install --python $(VENV)/bin/python --no-deps --no-build-isolation -e .; \
	else \
	  set -x; $(VENV)/bin/python -m pip --version || "$(PYTHON)" -m venv $(VENV); \
	  python -m pip install --progress-bar off -r requirements.lock; \
	  python -m pip install --no-deps --no-build-isolation -e .; \
	fi
	touch $@

# Pins of every package of pyproject.toml, for all systems (needs uv; no local wheels, whose versions are local too).
# What torch's CUDA build adds is left to torch, which pins it exactly: so a CPU build installs without it.
lock:
	UV_FIND_LINKS= uv pip compile pyproject.toml --extra dev --universal --python-version 3.11.5 \
	  --no-annotate --no-header -q | grep -vE '^(nvidia-|cuda-|triton==)' > .requirements.partial || \
	  { rm -f .requirements.partial; exit 1; }
	mv .requirements.partial requirements.lock

# Other profiles' runs lie in build/, half-done ones of `make seeds` too.
clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis
