# Every target prepares what it needs, once, and reports it. `make` alone lists the targets.
#
# Owns the order of preparation; the Python modules called here do the work. Must stay plain GNU make
# and POSIX shell.

PYTHON ?=
ARGS ?=
SEEDS ?= 200

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
SAY := printf '· %s\n'

# Stamps: nothing to do if they are newer than their sources.
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
REPLAY := $(VENV)/.installed-replay
WEB := web/static/vendor/.stamp
PAGE := $(wildcard web/static/js/*.js web/static/css/*.css)

# All targets share one virtual environment, and `make grapes peers` must run in this order.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help:
	@if [ -t 1 ] && [ -z "$$NO_COLOR" ]; then bold=$$(printf '\033[1m'); cyan=$$(printf '\033[36m'); \
	    plain=$$(printf '\033[0m'); fi; \
	printf 'Start with %smake grapes peers%s\n' "$$bold" "$$plain"; \
	awk -v bold="$$bold" -v cyan="$$cyan" -v plain="$$plain" ' \
	    /^##@/ { printf "\n%s%s%s\n", bold, substr($$0, 5), plain } \
	    /^[a-z-]+:.*## / { split($$0, part, /:.*## /); split(part[2], text, / \| /); \
	        name = text[2] ? part[1] " " text[2] : part[1]; \
	        printf "  %s%-20s%s %s\n", cyan, name, plain, text[1] }' Makefile

##@ Run
.PHONY: grapes peers peer market tap replay stop
grapes: $(RUN) ## two Grapes, in the background, through which peers find each other
	@$(PY) -m discovery.grapes start

peers: $(RUN) $(WEB) grapes ## three peers with their web pages; Ctrl-C ends them
	@mkdir -p build && $(PY) -m engine.native.build --idle </dev/null >build/native.log 2>&1 &
	@exec $(PY) -m peer demo $(ARGS)

peer: $(RUN) $(WEB) grapes ## one of these peers, or another that joins them, in its own terminal | N=4
	@if [ -z "$(N)" ]; then echo 'make peer: which one? For example: make peer N=2' >&2; exit 2; fi
	@exec $(PY) -m peer demo --only $(N) $(ARGS)

market: $(RUN) ## makers and takers fill the book of the running peers; Ctrl-C ends them | ARGS="--rate 60"
	@exec $(PY) -m peer market $(ARGS)

tap: $(RUN) ## print the messages between the running peers | ARGS=--stats
	@exec $(PY) -m peer tap --mesh .demo/mesh.toml $(ARGS)

replay: $(RUN) $(WEB) $(REPLAY) ## half an hour of real Bitstamp orders through three separate peers
	@exec $(PY) -m tests.bench.replay $(ARGS)

stop: ## stop the market, the peers and the Grapes that were started here
	@if [ -x $(PY) ] && [ -d .run ]; then $(PY) -m peer demo --stop && $(PY) -m discovery.grapes stop && \
	    $(PY) -m engine.native.build --stop; fi

##@ Verify
.PHONY: test test-fast check sim mutations exhaustive chaos chaos-members attack hosts powercut fuzz screenshots
# More workers than cores: many tests wait for other processes and for timers.
test: $(DEV) $(WEB) ## all tests, on real Grapes, processes and a browser, three at a time | ARGS="-k book"
	@$(PY) -c 'import engine; engine.why_plain or print("· testing compiled modules (see make slow)")'
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS) || { [ $$? = 1 ] && $(SAY) \
	    'once more, alone, the tests that failed beside others: one that passes now depends on time' && \
	    $(PY) -m pytest --last-failed --last-failed-no-failures=none --maxfail=3 -v $(ARGS); }

test-fast: $(DEV) ## tests of engine and replica, compiled, in a copy of this folder | ARGS=-x
	@$(PY) -m tests.compiled $(ARGS)

check: $(DEV) ## lint, format, types, and which package may import which
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

sim: $(DEV) ## the simulated mesh with faults, one run per seed | SEEDS=200
	@$(PY) -m tests.simulator --seeds $(SEEDS) $(ARGS)

mutations: $(DEV) ## break each rule of the protocol on purpose: the simulator must notice
	@$(PY) -m tests.mutations $(ARGS)

exhaustive: $(DEV) ## every graph of three and four members up to a depth, and every view of it
	@$(PY) -m tests.exhaustive $(ARGS)

chaos: $(DEV) ## ten minutes of kill -9, pauses and cuts on real peers | ARGS="--mode byzantine --peers 4"
	@$(PY) -m tests.chaos --minutes 10 $(ARGS)

chaos-members: $(DEV) ## members of a mesh under load come, go and are lost | ARGS="--seed 7"
	@$(PY) -m tests.chaos_members $(ARGS)

attack: $(DEV) $(WEB) ## strangers, wrong clocks, dead links, old journals against real peers | ARGS=--short
	@$(PY) -m tests.attack $(ARGS)

hosts: $(DEV) $(WEB) ## docs/operations.md as several owners do it, in network namespaces
	@rm -rf build/hosts && mkdir -p build/hosts
	@$(PY) -m tests.hosts --prepare
	@unshare -rn $(PY) -m tests.hosts build/hosts

powercut: $(DEV) ## power failures at recorded moments, on rebuilt disks | ARGS="--seeds 20"
	@$(PY) -m tests.disk.powercut $(ARGS)

fuzz: $(DEV) ## ten million hostile inputs to everything that reads input | ARGS="--inputs 100000"
	@$(PIP) --only-binary :all: 'atheris ==3.0.0' 2>/dev/null || $(SAY) 'no wheel of atheris for this Python'
	@$(PY) -m tests.fuzz $(ARGS)

screenshots: $(DEV) $(WEB) ## the pictures in docs/, of a real, trading mesh | ARGS="--only alarm"
	@$(PY) -m tests.screenshots $(ARGS)

##@ Measure
.PHONY: bench bench-all bench-engine bench-web fast slow
bench: $(DEV) $(WEB) ## the mesh beside its limits and its alternatives, in one table | ARGS=--quick
	@$(PY) -m tests.bench.story --json build/bench.json --plots build/plots $(ARGS)

bench-all: bench ## that, and every tests/bench/bench_*.py
	@for name in $(notdir $(basename $(wildcard tests/bench/bench_*.py))); do \
	    $(SAY) "tests/bench/$$name.py"; \
	    $(PY) -m "tests.bench.$$name" || exit 1; \
	done

bench-engine: $(DEV) ## the matching engine alone
	@$(PY) -m tests.bench.bench_engine $(ARGS)

bench-web: $(DEV) ## a thousand WebSocket clients on one gateway | ARGS="--clients 200"
	@$(PY) -m tests.bench.bench_web $(ARGS)

fast: $(DEV) ## compile engine and replica with mypyc now, as make peers does beside (needs a C compiler)
	@$(SAY) 'compiling, then checking the heap'
	@$(PY) -m engine.native.build

slow: ## run them as plain Python again
	@rm -f engine/*.so engine/fast/*.so *__mypyc*.so
	@if [ -x $(PY) ]; then $(PY) -m engine.native.build --remove; fi

##@ Prepare
.PHONY: setup web-parts wheel clean
setup: $(DEV) $(WEB) ## prepare everything that the other targets need

web-parts: $(WEB) ## install the page's libraries from npm, and bundle the page

wheel: $(WEB) ## dist/*.whl: the peer, its page and the page's libraries | FAST=1 with compiled modules
	@rm -rf build
	@if [ -n "$(FAST)" ]; then $(MAKE) --no-print-directory fast; fi
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean: stop slow ## remove everything made here: environment, npm packages, demo keys and books
	@$(SAY) 'removing $(VENV), .run, .demo, npm packages and caches'
	@rm -rf $(VENV) .run .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache build dist *.egg-info web/node_modules web/static/vendor web/static/built
	@find engine discovery peer web tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@if [ -n "$(PYTHON)" ]; then candidates="$(PYTHON)"; \
	else candidates='python3 python3.13 python3.12 python3.11'; fi; \
	for python in $$candidates; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        $(SAY) "making the virtual environment $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo 'That Python cannot make one; on Debian and Ubuntu: apt install python3-venv' >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "Python 3.11 or newer is needed, and none of these is: $$candidates" >&2; \
	echo 'Install one, or name it: make PYTHON=/path/to/python3' >&2; \
	exit 1

$(RUN): setup.cfg pyproject.toml | $(PY)
	@$(SAY) 'installing what the peers need into $(VENV)'
	@$(PIP) --editable .
	@touch $@

$(DEV): setup.cfg pyproject.toml | $(PY)
	@$(SAY) 'installing what tests and checks need into $(VENV)'
	@$(PIP) --editable '.[dev]'
	@touch $@ $(RUN)

$(REPLAY): | $(PY)
	@$(SAY) 'installing the recorded market data (ob-analytics 0.1.0)'
	@$(PIP) --no-deps ob-analytics==0.1.0
	@touch $@

$(WEB): web/package-lock.json web/vendor.py web/bundle.py $(PAGE) | $(RUN)
	@$(SAY) "preparing the page"
	@$(PY) -m web.bundle
	@touch $@
