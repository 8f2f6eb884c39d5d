# Every target sets up what it needs by itself: a virtual environment in .venv, exact versions from
# requirements.lock. `make` alone lists the targets.

PYTHON ?= python3
MODEL  ?= starter
IMAGES ?=
OUT    ?= build

VENV := .venv
BIN  := $(VENV)/bin
# A bundle's folder, or where the bundle of a Hugging Face id is built.
BUNDLE := $(if $(wildcard $(MODEL)/manifest.json),$(MODEL),build/models/$(subst /,--,$(MODEL)))
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint requirements.lock

RUN_READY  := $(VENV)/.ready-run
FULL_READY := $(VENV)/.ready-full
GPU_READY  := $(VENV)-gpu/.ready

.DEFAULT_GOAL := help
.PHONY: help demo web test test-web pictures lint kill-ingest load-million torture drain fuzz overload \
	bench bench-encoder bench-search bench-peers bench-gpu bench-map quality load load-ui deploy-check model \
	serve protos clean
.SILENT:

help: ## list the targets
	echo "clipsearch: CLIP search as two gRPC services. Targets:"; echo
	sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
	echo; echo "Variables: MODEL=starter | a Hugging Face id | a bundle's folder    IMAGES=folder of pictures    PYTHON=python3.11"

demo: $(RUN_READY) ## search real photographs by words and by picture (IMAGES=folder for your own)
	$(MAKE) --no-print-directory $(BUNDLE)/manifest.json MODEL=$(MODEL)
	$(BIN)/clipsearch demo --model $(BUNDLE) $(if $(IMAGES),--images $(IMAGES))

web: $(RUN_READY) ## the demo, and then its search page in a browser until Ctrl-C
	$(MAKE) --no-print-directory $(BUNDLE)/manifest.json MODEL=$(MODEL)
	$(BIN)/clipsearch demo --model $(BUNDLE) $(if $(IMAGES),--images $(IMAGES)) --web

test: $(FULL_READY) ## run every test
	echo "== tests (all of them, a few minutes)"
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-web: $(FULL_READY) build/models/starter/manifest.json ## the search page and the map in a real browser (Chromium)
	$(BIN)/python -m pytest tests/browser $(ARGS)

pictures: $(FULL_READY) build/models/starter/manifest.json ## make the pictures in docs/ anew, of the demo in Chromium
	$(BIN)/python -m tests.browser.pictures

lint: $(FULL_READY) ## format check, lint, types, import contracts, protos
	echo "== ruff";         $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	echo "== mypy";         $(BIN)/mypy
	echo "== import-linter"; $(BIN)/lint-imports --no-logo
	echo "== buf";          protos/lint.sh $(BIN)/python

kill-ingest: $(FULL_READY) ## kill bulk loading 20 times (KILLS=20 SEED=0) and count what was encoded twice
	KILLS=$(or $(KILLS),20) SEED=$(or $(SEED),0) $(BIN)/python -m pytest -s -q tests/soak/test_ingest_kill.py

load-million: $(FULL_READY) ## load a million vectors (VECTORS=1000000) and watch the client's memory
	VECTORS=$(or $(VECTORS),1000000) $(BIN)/python -m pytest -s -q tests/soak/test_ingest_memory.py

torture: $(FULL_READY) ## kill the search service 100 times while points are written: none lost, none twice (build/torture.json)
	$(BIN)/python -m tests.soak.torture $(ARGS)

drain: $(BUNDLE)/manifest.json $(FULL_READY) ## stop replicas 20 times under load: no call fails (build/drain.json)
	$(BIN)/python -m tests.soak.drain --model $(BUNDLE) $(ARGS)

bench: bench-encoder bench-search ## run the benchmarks (build/bench/)

bench-encoder: $(FULL_READY) ## measure the encoder against its baselines: tables, build/bench/encoder.json, charts
	$(BIN)/python -m tests.bench.encoder

bench-search: $(FULL_READY) ## measure search against qdrant-client's local mode (FULL=1: a million points too)
	$(BIN)/python -m tests.bench.search $(if $(FULL),--full)

bench-peers: $(FULL_READY) ## measure the encoder beside infinity-emb, installed for it: build/bench/peers.json
	$(BIN)/python -m tests.bench.peers

# An environment of its own: the wheels of ONNX Runtime for CPUs and for GPUs cannot stand side by side.
bench-gpu: ## measure the encoder on a CUDA GPU against torch: build/bench/gpu.json (without a GPU: nothing)
	if $(PYTHON) -c "import ctypes; ctypes.CDLL('libcuda.so.1')" 2> /dev/null; then \
		make --no-print-directory $(GPU_READY) && $(VENV)-gpu/bin/python -m tests.bench.gpu $(ARGS); \
	else echo "bench-gpu: there is no NVIDIA driver here (libcuda.so.1 is not found); nothing was measured"; fi

quality: $(RUN_READY) $(BUNDLE)/manifest.json ## measure what searches find, six cases with bounds: build/quality.json (IMAGES=folder for your own)
	$(BIN)/python -m tests.quality --model $(BUNDLE) $(if $(IMAGES),--images $(IMAGES))

bench-map: $(FULL_READY) ## time and memory of a map of 100,000 vectors: build/bench/map.json
	$(BIN)/python -m tests.bench.space

fuzz: $(FULL_READY) build/models/starter/manifest.json ## fire 50,000 hostile inputs at both services: build/fuzz.json (ARGS="--seed 2")
	$(BIN)/python -W ignore -m tests.fuzz $(ARGS)

overload: $(FULL_READY) ## ten times the encoder's best rate for a minute: build/overload.json
	$(BIN)/python -m tests.overload $(ARGS)

deploy-check: $(FULL_READY) ## check deploy/: images, compose, Kubernetes manifests, dashboards, alerts
	echo "== hadolint";   $(BIN)/hadolint deploy/docker/Dockerfile
	echo "== kustomize";  for overlay in deploy/kubernetes/overlays/*; do $(BIN)/kubectl kustomize $$overlay > /dev/null || exit 1; done
	echo "== promtool";   deploy/monitoring/promtool.sh
	echo "== schemas, dashboards, properties, images' contents"
	$(BIN)/python -m pytest tests/system/deploy -q $(ARGS)

load: $(FULL_READY) $(BUNDLE)/manifest.json ## load both services for two minutes: build/load/report.html and summary.json
	$(BIN)/python -m tests.load --model $(BUNDLE) $(ARGS)

load-ui: $(FULL_READY) $(BUNDLE)/manifest.json ## the same services under a load that you set in Locust's web page
	$(BIN)/python -m tests.load --ui --model $(BUNDLE) $(ARGS)

model: $(BUNDLE)/manifest.json ## build the model bundle that MODEL names
	$(BIN)/clipsearch model show $(BUNDLE)

serve: $(BUNDLE)/manifest.json ## serve both services here: encoder on :50051, search on :50052
	$(BIN)/clipsearch serve all --model $(BUNDLE)

protos: $(FULL_READY) ## regenerate the Python API from protos/
	protos/generate.sh $(BIN)/python
	echo "generated clipsearch/encoder/v1 and clipsearch/search/v1"

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) $(VENV)-gpu build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

build/models/starter/manifest.json: | $(RUN_READY)
	echo "== building the starter model (downloads 110 MB once)"
	$(BIN)/clipsearch model starter --out $(@D)

build/models/%/manifest.json: | $(FULL_READY)
	echo "== exporting $(MODEL)"
	$(BIN)/clipsearch model export $(MODEL) --out $(@D)

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"clipsearch needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; say which with make PYTHON=...") if v < (3, 11) else None'
	echo "== creating a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): pyproject.toml requirements.lock | $(BIN)/python
	echo "== installing the services and the client (exact versions of requirements.lock)"
	$(PIP) --editable '.[cpu,starter,map,web]'
	touch $@

$(FULL_READY): pyproject.toml requirements.lock | $(BIN)/python
	echo "== installing everything for development and export (torch included: a large download)"
	$(PIP) --editable '.[cpu,starter,map,web,notebook,parquet,otel,export,plan,load,dev,deploy]'
	touch $(RUN_READY) $@

$(GPU_READY): pyproject.toml requirements.lock
	echo "== installing ONNX Runtime for CUDA, torch and the exporter in $(VENV)-gpu (a large download)"
	$(PYTHON) -m venv $(VENV)-gpu
	$(VENV)-gpu/bin/python -m pip --disable-pip-version-check --quiet install --constraint requirements.lock \
		--editable '.[gpu,export]'
	touch $@
