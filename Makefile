PYTHON ?= python3
BIN := .venv/bin
# The oldest supported run time, in an environment of its own.
OLDEST := protobuf==6.33.5 grpcio==1.80.0 grpcio-health-checking==1.80.0 grpcio-reflection==1.80.0 \
	grpcio-channelz==1.80.0 googleapis-common-protos==1.70.0 orjson==3.11.7 click==8.3.3 \
	opentelemetry-sdk==1.30.0 opentelemetry-exporter-prometheus==0.51b0 \
	opentelemetry-distro==0.51b0 opentelemetry-instrumentation-starlette==0.51b0 opentelemetry-propagator-b3==1.30.0 \
	starlette==1.3.1 uvicorn==0.34.0 uvloop==0.21.0 httptools==0.6.4 aiohappyeyeballs==2.5.0 google-auth==2.38.0 \
	requests==2.33.0 nats-py==2.16.0
PIP := -m pip install --quiet --disable-pip-version-check
GENERATED := src/mistralwire/v1 src/mistralwire/gateway/openapi.json src/mistralwire/gateway/docs.html docs/reference.md
# The packages that the tests with Node.js and `make drift` need; without npm these are skipped.
NODE := tests/sdk_node tests/v1/pyright tools/drift
NODE_CLIENTS := tests/real_clients tests/interop/durable_streams
NPM := $(shell command -v npm)
NODE_PACKAGES := $(if $(NPM),$(NODE:%=%/node_modules/.installed))

CARGO := $(shell command -v cargo)
comma := ,
# Downloads once more where a registry does not answer; then it notes what is not run, and the rest goes on.
DOWNLOAD := $(PYTHON) -m tools.downloads
UNANSWERED = || [ $$? -eq 75 ]
NOT_RUN := build/not-run.txt

# One more than the cores, since many tests wait; as many as these where tests would hit their timeouts.
CORES := $(shell getconf _NPROCESSORS_ONLN)
WORKERS ?= $(shell expr $(CORES) + 1)
PYTEST := -m pytest --durations=10
# By file, so that what its tests share is started once.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
MAIN := not alone and not interop and not chaos
# To import the SDKs takes longer than most of the tests that are left.
QUICK := $(foreach path,codec/test_sdk_agreement.py contract/test_drift.py contract/test_drift_readers.py fleet interop \
	real_clients sdk sdk_node faults,--ignore tests/$(path)) \
	-m "$(MAIN) and not process and not sdk and not slow and not hypothesis"
# What the oldest dependencies can break; fewer examples, since both engines and all of them run on the newest ones.
OLDEST_TESTS := tests/codec tests/contract tests/log tests/service tests/client
NATIVE_SOURCES := $(wildcard native/*.toml native/*.pyi native/src/*.rs native/core/*.toml native/core/src/*.rs)
MATURIN := maturin==1.16.0

.PHONY: help native wheels native-test rust demo picture quick test newest alone oldest coverage forget covered versions interop chaos check begin debian report \
	format lint types docs dist stubs generate vectors buf drift bench bench-stream bench-gateway bench-relay fuzz clean FORCE

# Targets share environments, stubs and processors.
.NOTPARALLEL:

# Without bytecode each of hundreds of processes would compile the package, and each run the tests.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# Finds Python 3.N, on the PATH or among those of pyenv.
python3 = $(shell for python in python3.$(1) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.$(1).*/bin/python3.$(1); do \
	"$$python" -c '' 2>/dev/null && echo "$$python" && break; done)

CHECK_PYTHON = -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	"expected Python 3.11 or newer, found %d.%d; run make PYTHON=python3.11 $(MAKECMDGOALS)" % sys.version_info[:2])'

# Makes an environment, with PYTHON or another one. A Python that is too old is refused before anything is made, and what a run
# with another one, or an interrupted one, has left is made again.
define environment
@$(or $(2),$(PYTHON)) $(CHECK_PYTHON)
@echo "making $(1)"
@$(1)/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(or $(2),$(PYTHON)) -m venv --clear $(1)
endef

.venv/.installed: pyproject.toml
	$(call environment,.venv)
	@echo "installing what development needs into .venv: some 800 MB, one to three minutes"
	@$(BIN)/python $(PIP) --upgrade 'pip>=25.1'
	@$(BIN)/python $(PIP) --editable ".[channelz,gateway,otel,relay,vertex]" --group dev
	@touch $@

.venv-oldest/.installed: pyproject.toml Makefile
	$(call environment,.venv-oldest)
	@.venv-oldest/bin/python $(PIP) --upgrade 'pip>=25.1'
	@.venv-oldest/bin/python $(PIP) --editable ".[channelz,gateway,otel,relay,vertex]" --group test $(OLDEST)
	@touch $@

.venv-generate/.installed: Makefile
	$(call environment,.venv-generate)
	@.venv-generate/bin/python $(PIP) 'grpcio-tools==1.73.1' 'setuptools<81'
	@touch $@

.venv-gateways/.installed: benchmarks/gateway/gateways.txt
	$(call environment,.venv-gateways)
	@.venv-gateways/bin/python $(PIP) --requirement benchmarks/gateway/gateways.txt
	@touch $@

.venv-litellm/.installed: benchmarks/gateway/litellm.txt
	$(call environment,.venv-litellm)
	@.venv-litellm/bin/python $(PIP) --requirement benchmarks/gateway/litellm.txt
	@touch $@

# The clients that the tests point at the gateway: too many packages, and too particular, for the environment of all tests.
.venv-clients/.installed: tests/real_clients/requirements.txt
	$(call environment,.venv-clients)
	@$(DOWNLOAD) "tests with clients for Python" .venv-clients/bin/python $(PIP) --requirement tests/real_clients/requirements.txt \
		&& touch $@ $(UNANSWERED)

%/node_modules/.installed: %/package-lock.json
	@$(DOWNLOAD) "what needs $*" npm ci --prefix $* --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-timeout=60000 \
		&& touch $@ $(UNANSWERED)

.venv-3.%/.installed: pyproject.toml
	$(call environment,.venv-3.$*,$(call python3,$*))
	@.venv-3.$*/bin/python $(PIP) --upgrade 'pip>=25.1'
	@.venv-3.$*/bin/python $(PIP) --editable ".[channelz,gateway,otel,relay,vertex]" --group test
	@touch $@

# Built where cargo is found; the Python engine, which is complete, does without, except in CI.
.venv/.native: .venv/.installed $(NATIVE_SOURCES)
	@$(BIN)/python $(PIP) --force-reinstall --no-deps ./native
	@touch $@

native: $(if $(CARGO),.venv/.native) ## Build the codec's native engine into .venv (needs cargo)
	@$(if $(CARGO),$(BIN)/python -m mistralwire --version,echo "no cargo: install Rust from rustup.rs$(comma) then run make native or pip install ./native; the Python engine does without"$(if $(CI),; exit 1))

wheels: .venv/.installed ## Build the native engine's wheel for this platform, and test it
	@$(BIN)/python $(PIP) '$(MATURIN)'
	rm -rf dist/native && $(BIN)/maturin build --release --manifest-path native/Cargo.toml --out dist/native
	@$(BIN)/python $(PIP) --upgrade --no-deps --target dist/native/site dist/native/*.whl
	PYTHONPATH=dist/native/site MISTRALWIRE_ENGINE=native $(BIN)/python -m pytest tests/codec

rust: native
	cargo fmt --manifest-path native/Cargo.toml --all --check
	cargo clippy --manifest-path native/Cargo.toml --workspace --all-targets --quiet -- -D warnings
	cargo test --manifest-path native/Cargo.toml --package mistralwire-core --quiet

native-test: rust .venv-generate/.installed ## Run the native engine's own tests, and the codec's tests with the engine on and off
	@echo "== codec and contract, native engine"
	MISTRALWIRE_ENGINE=native $(BIN)/python $(PYTEST) $(PARALLEL) tests/codec tests/contract
	@echo "== codec and contract, Python engine"
	MISTRALWIRE_ENGINE=python $(BIN)/python $(PYTEST) $(PARALLEL) tests/codec tests/contract

# In the background, so that Ctrl-C reaches the shell alone, which ends what runs and prints one line.
demo: ## Show on one screen what mistralwire does, in an environment of its own (70 MB, half a minute)
	@trap 'kill $$! 2>/dev/null; wait; echo interrupted; exit 0' INT; \
		{ trap '' INT; $(PYTHON) $(CHECK_PYTHON) && exec $(PYTHON) -m tools.demo; } & wait $$!

picture: .venv/.installed ## Draw docs/demo.svg, which README.md shows, from the output of the demo
	@$(BIN)/python -m tools.picture

TEST_PACKAGES := .venv/.installed .venv-generate/.installed .venv-clients/.installed $(NODE_PACKAGES)

quick: .venv/.installed ## Run the tests that start no process and need no SDK, in a minute or two on two cores
	$(BIN)/python $(PYTEST) $(PARALLEL) $(QUICK)

test: newest alone oldest ## Run the tests in Python, in parallel, and a part on the oldest dependencies, in about nine minutes on two cores

newest: $(TEST_PACKAGES)
	@echo "== newest dependencies, in parallel"
	$(BIN)/python $(COVERAGE) $(PYTEST) $(PARALLEL) -m "$(MAIN)"

alone: $(TEST_PACKAGES)
	@echo "== newest dependencies, tests with nothing beside them"
	$(BIN)/python $(PYTEST) -m "alone and not interop and not chaos" $$(grep -rl --include='test_*.py' 'mark\.alone' tests)

oldest: .venv-oldest/.installed
	@echo "== oldest dependencies, codec, contract, log, service and client"
	HYPOTHESIS_PROFILE=short .venv-oldest/bin/python $(PYTEST) $(PARALLEL) -m "$(MAIN)" $(OLDEST_TESTS)

# Of the pass that has all tests; those of the codec compare both engines there.
coverage check: COVERAGE := -m coverage run
coverage check oldest: WORKERS := $(CORES)
coverage: forget newest covered ## Run the tests with branch coverage of src, processes included; fails below 95 %

covered:
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

forget: .venv/.installed
	@$(BIN)/python -m coverage erase

# All tests run on that of .venv.
OTHER_MINORS = $(filter-out $(shell $(BIN)/python -c 'import sys; print(sys.version_info.minor)'),11 12 13 14)

versions: .venv/.installed ## Run the quick tests on the other Pythons from 3.11 to 3.14 that are installed
	@$(MAKE) --no-print-directory $(foreach minor,$(OTHER_MINORS),$(if $(call python3,$(minor)),.venv-3.$(minor)/.quick)) FORCE
	@$(foreach minor,$(OTHER_MINORS),$(if $(call python3,$(minor)),,echo "Python 3.$(minor) is not installed";))

FORCE:

.PRECIOUS: .venv-3.%/.installed
.venv-3.%/.quick: .venv-3.%/.installed FORCE
	@echo "== Python 3.$*, quick tests"
	.venv-3.$*/bin/python $(PYTEST) $(PARALLEL) $(QUICK)

# Skips the languages whose toolchain is not installed, with the reason.
interop: .venv/.installed .venv-generate/.installed .venv-clients/.installed $(if $(NPM),$(NODE_CLIENTS:%=%/node_modules/.installed)) ## Call services from other languages, and serve in them (ONLY="go or rust")
	$(BIN)/python $(PYTEST) $(PARALLEL) -m interop tests/interop tests/real_clients $(if $(ONLY),-k "$(ONLY)")

# How long each scenario of tests/faults runs. In parallel there are no table and no figures.
CHAOS_SECONDS ?= 60
check: CHAOS_SECONDS := 3
check: CHAOS_PARALLEL := $(PARALLEL)

chaos: .venv/.installed ## Run the long tests that kill, stop and overload processes, and print what the relay lost
	CHAOS_SECONDS=$(CHAOS_SECONDS) $(BIN)/python $(PYTEST) $(CHAOS_PARALLEL) -m chaos $(if $(ONLY),-k "$(ONLY)")

# Where the registry did not answer, the packages for Node.js are missing, and so are their sources.
check: DRIFT_OPTIONS := $(if $(CI),$$(ls $(NODE_PACKAGES) >/dev/null 2>&1 && echo --all))
check: begin debian format lint types docs dist stubs buf drift native $(if $(CARGO),rust) forget test covered versions interop chaos report ## Run everything that CI runs, in every language

begin:
	@mkdir -p $(dir $(NOT_RUN)) && rm -f $(NOT_RUN)
	@for tool in node npm go java javac mvn cargo; do command -v $$tool >/dev/null || { \
		echo "$$tool is not installed: what needs it is not run" | tee -a $(NOT_RUN); $(if $(CI),exit 1;) }; done

# Debian's, where CI may install them; tests of the page at /docs, of the alerts in deploy/ and of faults are skipped without.
debian:
	@$(if $(CI),which chromedriver promtool fusermount3 ip unshare cc >/dev/null || [ "$$(id -u)" != 0 ] \
		|| ! command -v apt-get >/dev/null \
		|| $(DOWNLOAD) "tests of the page at /docs in a browser$(comma) of the alerts$(comma) and of faults" sh -c 'apt-get update -qq \
		&& apt-get install -qq -y --no-install-recommends chromium chromium-driver prometheus \
		fuse3 iproute2 util-linux gcc libc6-dev' $(UNANSWERED),true)

report:
	@if [ -s $(NOT_RUN) ]; then echo "not run:" && sed 's/^/  /' $(NOT_RUN); else echo "everything was run"; fi

format: .venv/.installed
	$(BIN)/ruff format --check .

lint: .venv/.installed
	$(BIN)/ruff check .

types: .venv/.installed
	$(BIN)/mypy

docs: .venv/.installed ## Build the documentation and an API reference as a site, in build/docs; warnings are errors
	$(BIN)/python -m tools.docs
# With --quiet it would not see its warnings either.
	$(BIN)/mkdocs build

dist: .venv/.installed ## Build the wheel and the sdist into dist/python, and check them
	rm -rf dist/python && $(BIN)/python -m build --no-isolation --outdir dist/python
	$(BIN)/twine check --strict dist/python/*
	$(BIN)/check-wheel-contents dist/python/*.whl

generate: .venv-generate/.installed .venv/.installed ## Generate the stubs, the OpenAPI document and its page from proto/, and docs/reference.md from the code
	.venv-generate/bin/python -m tools.generate
	$(BIN)/python -m tools.openapi
	$(BIN)/python -m tools.reference

stubs: generate
	@git diff --exit-code --stat -- $(GENERATED) && test -z "$$(git status --porcelain -- $(GENERATED))" \
		|| { echo "generated files are not current: run 'make generate' and commit"; exit 1; }

vectors: .venv/.installed ## Fill in the conformance vectors in proto/vectors
	$(BIN)/python -m tools.vectors

buf: .venv/.installed
	$(BIN)/buf lint proto
	$(BIN)/buf format proto --diff --exit-code
	$(BIN)/buf breaking proto --against proto/released.binpb

drift: .venv/.installed $(NODE_PACKAGES) ## Compare the contract with Mistral's SDKs (WITH=mistralai@3.6.0 for other versions)
	$(BIN)/python -m tools.drift $(DRIFT_OPTIONS) $(WITH:%=--with %)

bench: .venv/.installed native ## Measure the codec against its peers (ONLY="events worst" for parts of it)
	@$(BIN)/python $(PIP) --group bench
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-stream: .venv/.installed ## Measure the streaming service against plain grpcio
	$(BIN)/python -m benchmarks.stream

bench-gateway: .venv/.installed native .venv-gateways/.installed $(if $(LITELLM),.venv-litellm/.installed) ## Measure the gateway against smg, ferrogw and Envoy (LITELLM=1 for LiteLLM too)
	$(BIN)/python -m benchmarks.gateway $(if $(LITELLM),--litellm)

bench-relay: .venv/.installed ## Measure response logs and the relay against Redis Streams and plain grpcio (needs redis-server and cc)
	$(BIN)/python -m benchmarks.relay

fuzz: .venv/.installed native ## Fuzz both engines of the codec, a minute per target (TARGET=wire SECONDS=1800)
	@$(BIN)/python $(PIP) atheris
	$(BIN)/python -m tools.fuzz $(TARGET) $(if $(SECONDS),--seconds $(SECONDS))

clean: ## Remove what these targets created
	rm -rf .venv .venv-* build dist .coverage .coverage.*
	rm -rf $(NODE:%=%/node_modules) $(NODE_CLIENTS:%=%/node_modules)
	rm -rf native/target native/fuzz/target native/.site
	rm -rf $(foreach made,gen node_modules target,$(wildcard examples/*/$(made)))
