# One door for commands; each target first sets up what it lacks.
.DEFAULT_GOAL := help
.PHONY: help setup build image demo test check tidy differential differential-incumbent connections kubernetes test-kubernetes bench bench-agent bench-http bench-policy fuzz clean

# Where scripts/setup puts bpf-linker; crates/loader/build.rs looks there too.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nexin/tools
export PATH := $(TOOLS)/bin:$(PATH)
CARGO = RUSTUP_TOOLCHAIN=$$(scripts/toolchain) cargo
NEXIN := $(or $(CARGO_TARGET_DIR),target)/release/nexin

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-22s %s\n", $$1, $$2}'

setup: ## Install what a build lacks: the pinned Rust, a C compiler, bpf-linker
	@scripts/setup

build: setup ## Build the one binary, target/release/nexin
	@$(CARGO) build --locked --release --package nexin

# With a target, build scripts and macros stay dynamic.
HOST = $$(RUSTUP_TOOLCHAIN=$$(scripts/toolchain) rustc -vV | sed -n 's/^host: //p')

image: setup ## Build the OCI image of a static nexin, target/nexin.tar, for `ctr images import` or `podman load`
	@RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --release --package nexin --target $(HOST)
	@$(CARGO) run --quiet --locked --package xtask -- image \
		$(or $(CARGO_TARGET_DIR),target)/$(HOST)/release/nexin $(or $(CARGO_TARGET_DIR),target)/nexin.tar

demo: build ## Run the HTTP tutorial for real: namespaces, eBPF, policy, probes (asks for root)
	@scripts/as-root $(NEXIN) demo

test: check ## Run everything that has to hold: check, then every test (as root also those with BPF)
	@scripts/peers
	@RUSTUP_TOOLCHAIN=$$(scripts/toolchain) scripts/test

check: setup tidy ## Check format, lints and the shape of the tree
	@$(CARGO) fmt --all --check
	@$(CARGO) fmt --manifest-path programs/Cargo.toml --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@RUSTC_BOOTSTRAP=1 $(CARGO) clippy --locked --manifest-path programs/Cargo.toml \
		-Z build-std=core --target bpfel-unknown-none -- -D warnings
	@$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	@$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --no-default-features --all-targets --target-dir target \
		-- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo 'check: cargo-deny is not installed; licences and advisories of dependencies were not checked'; fi

tidy: setup ## Check the shape of the tree: arrows between crates, circles between files, lengths, names, words, links
	@$(CARGO) xtask tidy

differential: setup ## Compare engines on NEXIN_PAIRS random pairs, and a tenth of it in the kernel (asks for root)
	@$(CARGO) test --locked --release --package nexin-testbed --test differential --config \
		"target.'cfg(unix)'.runner = ['$(CURDIR)/scripts/as-root', 'env', 'NEXIN_PAIRS=$(or $(NEXIN_PAIRS),1000000)']" \
		-- what_the_model_says --include-ignored --nocapture --test-threads 1

differential-incumbent: setup ## Compare with Cilium's policy library on NEXIN_WORLDS random worlds from NEXIN_SEED on (needs Go)
	@program=$$(scripts/incumbent) || exit $$?; \
	NEXIN_INCUMBENT=$$program NEXIN_WORLDS=$(or $(NEXIN_WORLDS),10000) NEXIN_SEED=$(or $(NEXIN_SEED),0) \
		$(CARGO) test --locked --release --package nexin-testbed --features incumbent --test differential \
		-- the_incumbent_agrees --nocapture

connections: setup ## Open 2,000 connections a second through the proxy for a minute, and change 5,000 rules 60 times (asks for root)
	@$(CARGO) test --locked --release --package nexin --test proxy --config \
		"target.'cfg(unix)'.runner = ['$(CURDIR)/scripts/as-root', 'env', 'NEXIN_RATE=2000', 'NEXIN_SECONDS=60', \
		'NEXIN_REQUESTS=20000', 'NEXIN_CHANGES=60', 'NEXIN_RULES=5000']" \
		-- --include-ignored --nocapture --test-threads 1

kubernetes: setup ## Build the programs of Kubernetes for a real cluster (`cargo xtask cluster`) outside the tree (needs Go)
	@$(CARGO) xtask kubernetes

test-kubernetes: build ## Run the tests on real clusters of Kubernetes, or TESTS="short crash" of them (needs Go; asks for root)
	@$(CARGO) run --quiet --locked --package xtask --config "target.'cfg(unix)'.runner = ['$(CURDIR)/scripts/as-root', \
		'env', 'PATH=$(PATH)', 'NEXIN_KUBERNETES=$(or $(NEXIN_KUBERNETES),$(dir $(TOOLS))kubernetes)']" \
		-- cluster test --nexin $(abspath $(NEXIN)) $(TESTS)

fuzz: setup ## Run each fuzz target for FUZZ_SECONDS (600) from seeds of the tree's cases; FUZZ_JOBS at a time
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) FUZZ_JOBS=$(or $(FUZZ_JOBS),1) scripts/fuzz $(FUZZ_TARGETS)

bench: setup ## Measure: nanoseconds per packet, round trips and throughput (asks for root)
	@$(CARGO) bench --locked --package nexin-testbed --bench path \
		--config "target.'cfg(unix)'.runner = ['$(CURDIR)/scripts/as-root']"

bench-agent: build ## Measure the agent: files, workloads, changes, restarts; BENCH_AGENT="--case idle --scale 0.1" (asks for root)
	@$(CARGO) bench --locked --package nexin-testbed --bench agent \
		--config "target.'cfg(unix)'.runner = ['$(CURDIR)/scripts/as-root']" -- --nexin $(abspath $(NEXIN)) $(BENCH_AGENT)

bench-http: build ## Measure: HTTP policy per request, beside Envoy; BENCH_HTTP="--envoy PATH --rounds 20" (asks for root)
	@$(CARGO) bench --locked --package nexin-testbed --bench http \
		--config "target.'cfg(unix)'.runner = ['$(CURDIR)/scripts/as-root']" -- --nexin $(abspath $(NEXIN)) $(BENCH_HTTP)

bench-policy: build ## Measure: policies to rows, a large world and its changes, memory (asks for root)
	@scripts/as-root $(NEXIN) bench policy

clean: ## Remove what was built in this tree; the tools stay
	@$(CARGO) clean
	@rm -rf programs/target fuzz/target
