# SPDX-License-Identifier: Apache-2.0
# A thin front door: meson and ninja do the work. `make help` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
TESTS ?=
FUZZ_SECONDS ?= 60
BENCH_ARGS ?=

# Some tools of the build lie where an ordinary user's PATH does not lead.
export PATH := $(PATH):/usr/sbin:/sbin

RELEASE := build/release
NINJA := ninja -j $(JOBS)
PROGRAMS := agentcored agentcore

.DEFAULT_GOAL := build
.PHONY: help build check run bench bench-metering bench-history install uninstall install-python \
    fuzz format clean deps-build deps-check deps-fuzz deps-bench

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile
	@echo 'Variables: PREFIX=$(PREFIX) DESTDIR= JOBS=$(JOBS) TESTS= (names for check) FUZZ_SECONDS=$(FUZZ_SECONDS)'

build: $(RELEASE)/build.ninja ## programs at build/agentcored and build/agentcore, the library beside them
	@$(NINJA) -C $(RELEASE)
	@for program in $(PROGRAMS); do \
	    found=$$(find $(RELEASE)/src/apps -type f -name $$program -perm -u+x | head -n 1); \
	    if [ -n "$$found" ]; then ln -sfn "$${found#build/}" build/$$program; fi; \
	done
	@if [ -e $(RELEASE)/bindings/python ]; then ln -sfn $(RELEASE:build/%=%)/bindings/python build/python; fi

$(RELEASE)/build.ninja: | deps-build
	@meson setup $(RELEASE) --prefix $(PREFIX) -Dwerror=false -Dtests=false -Dbuildtype=debugoptimized

check: deps-check ## builds with sanitizers and with clang, runs every test (or TESTS="name ...")
	@tools/check -j $(JOBS) $(TESTS)

run: build ## a demonstration: three agents at work, metered, alerted on and allocated
	@tools/demo

bench: build deps-bench ## figures beside those of other tools
	@tools/run-bench all $(BENCH_ARGS)

bench-metering: build deps-bench ## cost of metering
	@tools/run-bench metering $(BENCH_ARGS)

bench-history: build deps-bench ## size and speed of history
	@tools/run-bench history $(BENCH_ARGS)

install: build ## into PREFIX, below DESTDIR
	@meson configure $(RELEASE) --prefix $(PREFIX)
	@$(NINJA) -C $(RELEASE) >/dev/null
	@DESTDIR='$(DESTDIR)' meson install -C $(RELEASE) --no-rebuild --quiet
	@[ -n '$(DESTDIR)' ] || ldconfig 2>/dev/null || true

uninstall: ## removes what the last install put in place
	@$(NINJA) -C $(RELEASE) uninstall

install-python: build ## the Python package, for the python3 that is active
	@tools/install-python

fuzz: deps-fuzz ## every fuzz target for FUZZ_SECONDS each (or TESTS="name ...")
	@tools/run-fuzz -j $(JOBS) -t $(FUZZ_SECONDS) $(TESTS)

format: deps-check ## lays out the C sources
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

clean: ## removes everything that was built
	@rm -rf build

deps-build:
	@tools/install-deps build
deps-check:
	@tools/install-deps build check
deps-fuzz:
	@tools/install-deps build fuzz
deps-bench:
	@tools/install-deps build bench

build: deps-build
