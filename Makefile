# Every target sets up what it needs by itself: a virtual environment in .venv, exact versions from
# requirements.lock. `make` alone lists the targets.

PYTHON ?= python3
MODEL  ?= starter
IMAGES ?=
OUT    ?= build
SHARE  ?= 1
PART   ?=
QDRANT ?=
FAULTS ?= 200

VENV := .venv
BIN  := $(VENV)/bin
# A bundle's folder, or where the bundle of a Hugging Face id is built.
BUNDLE := $(if $(wildcard $(MODEL)/manifest.json),$(MODEL),build/models/$(subst :,--,$(subst /,--,$(MODEL))))
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint requirements.lock
PYTEST := $(BIN)/python -m pytest
# A file's tests share processes: they stay together, in the order of pyproject.toml.
SPREAD := -n auto --dist loadfile --no-loadscope-reorder

RUN_READY  := $(VENV)/.ready-run
FULL_READY := $(VENV)/.ready-full
GPU_READY  := $(VENV)-gpu/.ready
CHECKOV    := 3.3.30
CHECKOV_READY := $(VENV)-checkov/.ready-$(CHECKOV)

.DEFAULT_GOAL := help
.PHONY: needs-qdrant help demo web test test-fast test-web soak screenshots lint torture test-qdrant chaos drain fuzz fuzz-gateway bounds overload \
	bench bench-encoder bench-search bench-peers bench-gpu bench-qdrant bench-gateway bench-map models-check models-speed quality load load-ui deploy-check needs-buildah images-check release-check model \
	serve protos clean
.SILENT:
# Tests compile slower each time where this is set.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	echo "clipsearch: CLIP search as two gRPC services. Targets:"; echo
	sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
	echo; echo "To measure, and to try hard:"; echo
	sed -nE 's/^([a-z-]+):.*##\+ (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
	echo; echo "Variables: MODEL=starter | a Hugging Face id | OpenCLIP's NAME:PRETRAINED | a bundle's folder    IMAGES=folder of images    PYTHON=python3.11"

demo: $(RUN_READY) ## search real photographs by words and by image (IMAGES=folder for your own)
	$(MAKE) --no-print-directory $(BUNDLE)/manifest.json MODEL=$(MODEL)
	$(BIN)/clipsearch demo --model $(BUNDLE) $(if $(IMAGES),--images $(IMAGES))

web: $(RUN_READY) ## the demo, and then its search page in a browser until Ctrl-C
	$(MAKE) --no-print-directory $(BUNDLE)/manifest.json MODEL=$(MODEL)
	$(BIN)/clipsearch demo --model $(BUNDLE) $(if $(IMAGES),--images $(IMAGES)) --web

test: $(FULL_READY) ## run every test, every kind of fault once
	echo "== tests (all of them, some minutes; the first run also downloads 110 MB of published weights)"
	$(PYTEST) $(SPREAD) $(ARGS)

test-fast: $(FULL_READY) ## run what needs no process of its own: unit tests and the stores' contract
	echo "== tests (unit and contract, without the slow ones)"
	$(PYTEST) $(SPREAD) -m "not slow" tests/unit tests/contract $(ARGS)

# Its parts are the files tests/soak/test_PART.py.
soak: $(FULL_READY) ##+ the long runs (SHARE=0.1: a tenth of each; PART=torture: one of them)
	echo "== soak: $(or $(PART),every part), share $(SHARE)"
	SOAK_SHARE=$(SHARE) $(PYTEST) -v --durations=0 --durations-min=1 $(if $(PART),tests/soak/test_$(PART).py,tests/soak) $(ARGS)

test-web: $(FULL_READY) ##+ the search page and the map in a real browser (Chromium)
	$(PYTEST) tests/browser $(ARGS)

screenshots: $(FULL_READY) build/models/starter/manifest.json ##+ make the screenshots in docs/ anew, of the demo in Chromium
	$(BIN)/python -m tests.browser.screenshots

lint: $(FULL_READY) ## format check, lint, types, import contracts, protos
	echo "== ruff";         $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	echo "== mypy";         $(BIN)/mypy
	echo "== import-linter"; $(BIN)/lint-imports --no-logo
	echo "== buf";          protos/lint.sh $(BIN)/python

torture: $(FULL_READY) ##+ kill the search service 100 times while points are written: none lost, none twice (build/torture.json)
	$(BIN)/python -m tests.soak.torture $(ARGS)

# Nothing else here needs a Qdrant server, and none comes with it.
needs-qdrant:
	test -n "$(QDRANT)" || { echo "set QDRANT to a Qdrant binary, whose nodes are started for it on loopback addresses (make test-qdrant: or to the URL of a server that tests may fill)"; exit 2; }

test-qdrant: needs-qdrant $(FULL_READY) ##+ test against a real Qdrant, alone and as a cluster of three (QDRANT=BINARY|URL)
	QDRANT=$(QDRANT) $(PYTEST) -v tests/qdrant $(ARGS)

chaos: needs-qdrant $(BUNDLE)/manifest.json $(FULL_READY) ##+ fail the nodes of a Qdrant cluster 200 times under load: none lost, none stale (QDRANT=BINARY, FAULTS=200; build/chaos.json)
	$(BIN)/python -m tests.soak.chaos --qdrant $(QDRANT) --faults $(FAULTS) --model $(BUNDLE) $(ARGS)

drain: $(BUNDLE)/manifest.json $(FULL_READY) ##+ stop replicas 20 times under load: no call fails (build/drain.json)
	$(BIN)/python -m tests.soak.drain --model $(BUNDLE) $(ARGS)

bench: bench-encoder bench-search ##+ run the benchmarks (build/bench/)

bench-encoder: $(FULL_READY) ##+ measure the encoder against its baselines: build/bench/encoder.json
	$(BIN)/python -m tests.bench.encoder

bench-search: $(FULL_READY) ##+ measure search against qdrant-client's local mode: build/bench/search.json
	$(BIN)/python -m tests.bench.search

bench-peers: $(FULL_READY) ##+ measure the encoder beside infinity-emb, installed for it: build/bench/peers.json
	$(BIN)/python -m tests.bench.peers

# An environment of its own: the wheels of ONNX Runtime for CPUs and for GPUs cannot stand side by side.
bench-gpu: ##+ measure the encoder on a CUDA GPU against torch: build/bench/gpu.json (without a GPU: nothing)
	if $(PYTHON) -c "import ctypes; ctypes.CDLL('libcuda.so.1')" 2> /dev/null; then \
		make --no-print-directory $(GPU_READY) && $(VENV)-gpu/bin/python -m tests.bench.gpu $(ARGS); \
	else echo "bench-gpu: there is no NVIDIA driver here (libcuda.so.1 is not found); nothing was measured"; fi

quality: $(RUN_READY) $(BUNDLE)/manifest.json ##+ measure what searches find, six cases with bounds: build/quality.json (IMAGES=folder for your own)
	$(BIN)/python -m tests.quality --model $(BUNDLE) $(if $(IMAGES),--images $(IMAGES))

bench-qdrant: needs-qdrant $(FULL_READY) ##+ measure the service on a Qdrant cluster beside plain calls to it (QDRANT=BINARY; build/bench/qdrant.json)
	$(BIN)/python -m tests.bench.qdrant --qdrant $(QDRANT) $(ARGS)

bench-gateway: $(FULL_READY) build/models/starter/manifest.json ##+ measure searches and embeddings through the gateway and beside it: build/bench/gateway.json
	$(BIN)/python -m tests.bench.gateway $(ARGS)

models-speed: $(FULL_READY) ##+ how fast each model of `clipsearch model list` encodes here, random weights: build/models-speed.json
	$(BIN)/python -W ignore -m tests.models.speed

models-check: $(FULL_READY) ##+ export every architecture of OpenCLIP's list, random weights, against OpenCLIP: build/models-check.json (hours, a line each)
	$(BIN)/python -W ignore -m tests.models $(ARGS)

bench-map: $(FULL_READY) ##+ time and memory of a map of 100,000 vectors: build/bench/map.json
	$(BIN)/python -m tests.bench.space

fuzz: $(FULL_READY) build/models/starter/manifest.json ##+ fire 50,000 hostile inputs at both services: build/fuzz.json (ARGS="--seed 2")
	$(BIN)/python -W ignore -m tests.fuzz $(ARGS)

fuzz-gateway: $(FULL_READY) build/models/starter/manifest.json ##+ fire 20,000 hostile requests at a gateway: build/fuzz-gateway.json (ARGS="--seed 2")
	$(BIN)/python -W ignore -m tests.fuzz.gateway $(ARGS)

bounds: $(FULL_READY) build/models/starter/manifest.json ##+ whether a caller or a file can kill the encoder: build/bounds.json
	$(BIN)/python -W ignore -m tests.soak.bounds $(ARGS)

overload: $(FULL_READY) ##+ ten times the encoder's best rate for a minute: build/overload.json
	$(BIN)/python -m tests.overload $(ARGS)

deploy-check: $(FULL_READY) $(CHECKOV_READY) ##+ check deploy/ and the workflows: images, compose, Kubernetes manifests, dashboards, alerts
	echo "== hadolint";   $(BIN)/hadolint deploy/docker/Dockerfile
	echo "== kustomize";  for overlay in deploy/kubernetes/overlays/*; do $(BIN)/kubectl kustomize $$overlay > /dev/null || exit 1; done
	echo "== zizmor";     $(BIN)/zizmor --offline --quiet .github/workflows
	echo "== promtool";   deploy/monitoring/promtool.sh
	echo "== checkov, schemas, dashboards, properties, images' contents"
	CHECKOV=$(VENV)-checkov/bin/checkov SOAK_SHARE=0.01 $(PYTEST) -q tests/system/deploy tests/soak/test_image_contents.py $(ARGS)

# Debian's packages buildah, debootstrap and busybox-static have what others lack.
needs-buildah:
	for program in buildah debootstrap busybox unshare nsenter setpriv prlimit; do \
		command -v $$program > /dev/null || { echo "images-check needs $$program (Debian: apt-get install buildah debootstrap busybox-static util-linux)"; exit 2; }; done
	! ldd $$(command -v busybox) > /dev/null 2>&1 || { echo "images-check needs a busybox without libraries (Debian: apt-get install busybox-static)"; exit 2; }
	unshare --mount --pid --ipc --uts --fork mount -t tmpfs tmpfs /mnt 2> /dev/null || { echo "images-check needs root, who may mount"; exit 2; }

images-check: needs-buildah $(FULL_READY) ##+ build the images on bases made here, all but the GPU's and load's, and run them read-only (buildah, root; build/images.json)
	echo "== images (minutes: a Debian once, each image from nothing)"
	$(PYTEST) -v -s tests/images $(ARGS)

release-check: $(FULL_READY) ##+ build the release of the last commit in build/release/dist, check it, install and serve it
	rm -rf build/release && mkdir -p build/release/source
	git archive HEAD | tar -x -C build/release/source
	echo "== build";  $(BIN)/python -m build --no-isolation --outdir build/release/dist build/release/source > build/release/log 2>&1 \
		|| { cat build/release/log; exit 1; }
	echo "== twine";  $(BIN)/twine check --strict build/release/dist/*
	echo "== installs into empty environments, and serves"
	WHEEL=$$(echo build/release/dist/*.whl) SOAK_SHARE=0.01 $(PYTEST) -q tests/soak/test_install.py tests/soak/test_image_contents.py $(ARGS)

load: $(FULL_READY) $(BUNDLE)/manifest.json ##+ load both services for two minutes: build/load/report.html and summary.json
	$(BIN)/python -m tests.load --model $(BUNDLE) $(ARGS)

load-ui: $(FULL_READY) $(BUNDLE)/manifest.json ##+ the same services under a load that you set in Locust's web page
	$(BIN)/python -m tests.load --ui --model $(BUNDLE) $(ARGS)

model: $(BUNDLE)/manifest.json ## build the model bundle that MODEL names
	$(BIN)/clipsearch model show $(BUNDLE)

serve: $(BUNDLE)/manifest.json ## serve both services here: encoder on :50051, search on :50052
	echo "== for curl, browsers and OpenAI's libraries, in another terminal: $(BIN)/clipsearch gateway"
	$(BIN)/clipsearch serve all --model $(BUNDLE)

protos: $(FULL_READY) ## regenerate the Python API from protos/
	protos/generate.sh $(BIN)/python
	echo "generated clipsearch/encoder/v1 and clipsearch/search/v1"

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) $(VENV)-gpu $(VENV)-checkov build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
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
	echo "== installing the services and the client, exact versions of requirements.lock"
	$(PIP) --editable '.[cpu,search,starter,map,web,gateway]'
	touch $@

$(FULL_READY): pyproject.toml requirements.lock | $(BIN)/python
	echo "== installing everything for development and export"
	echo "   This downloads 0.5 GB beside torch, once. PyPI's torch for Linux is the CUDA build, which is 2.8 GB more with"
	echo "   its libraries, and 6.7 GB on disk in all. Nothing here needs CUDA; to have the CPU build, a tenth of that:"
	echo "   make $(MAKECMDGOALS) PIP_EXTRA_INDEX_URL=URL, the index of CPU builds that pytorch.org's 'Get started' names"
	$(PIP) --editable '.[cpu,search,starter,map,eval,web,gateway,notebook,parquet,otel,export,plan,load,dev,deploy]'
	touch $(RUN_READY) $@

# Nor can Checkov with what it pins.
$(CHECKOV_READY):
	echo "== installing Checkov in $(VENV)-checkov"
	$(PYTHON) -m venv $(VENV)-checkov
	$(VENV)-checkov/bin/python -m pip --disable-pip-version-check --quiet install checkov==$(CHECKOV)
	touch $@

$(GPU_READY): pyproject.toml requirements.lock
	echo "== installing ONNX Runtime for CUDA, torch and the exporter in $(VENV)-gpu (a large download)"
	$(PYTHON) -m venv $(VENV)-gpu
	$(VENV)-gpu/bin/python -m pip --disable-pip-version-check --quiet install --constraint requirements.lock \
		--editable '.[gpu,export]'
	touch $@
