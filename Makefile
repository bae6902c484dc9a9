SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help demo test setup fmt lint unit acceptance bench bench-cluster dist images test-integration \
	test-e2e soak cluster cluster-down clean

help:
	@echo "make demo   the main job on this machine, step by step with times"
	@echo "make test   formatting, lints, unit, property and end-to-end tests; says how many ran"
	@echo "make acceptance   a real Vite and React project: up, edit, build, hibernate, wake (needs Node 20 or later)"
	@echo "make bench  seconds and peak memory of searches and of snapshots of 100,000 files; fails above a bound"
	@echo "make bench-cluster   commands and terminals through the server on a cluster, beside kubectl exec"
	@echo "make test-integration   the chart on a cluster, and the suite as a Job in it; target/integration has what it saw"
	@echo "make test-e2e   the same on two nodes with enforced NetworkPolicies: the cases of the suite that need that"
	@echo "make soak [MINUTES=30]   the suite again and again: what grows, and what is left behind (docs/soak.md)"
	@echo "make cluster   a ready Kubernetes, checked; prints its KUBECONFIG last (make cluster-down ends it)"
	@echo "RIG_PROFILE=full make cluster   with two nodes, enforced NetworkPolicies and an ingress controller (docs/rig.md)"
	@echo "make dist   static binaries in dist/"
	@echo "make images [REGISTRY=HOST:PORT]   container images, with Docker or buildah; prints sizes and digests"

demo:
	@tests/setup.sh demo
	cargo build --workspace --bins --locked
	@tests/demo.sh "$${CARGO_TARGET_DIR:-target}/debug"

test: setup fmt lint unit

setup:
	@tests/setup.sh

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

# The binaries are built first: end-to-end tests start them as processes.
unit:
	cargo build --workspace --bins --locked
	@log=$$(mktemp); trap 'rm -f $$log' EXIT; \
	cargo test --workspace --locked --no-fail-fast 2>&1 | tee $$log; \
	awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	     END { printf "tests: %d passed, %d failed, %d skipped\n", passed, failed, ignored }' $$log

# `--nocapture`: the steps and their times are the output.
acceptance:
	@tests/setup.sh acceptance
	cargo build --workspace --bins --locked
	cargo test --workspace --locked --test acceptance -- --nocapture

# In the release profile: seconds of an unoptimised build tell nothing.
bench:
	@tests/setup.sh bench
	cargo build --workspace --bins --examples --locked --release
	"$${CARGO_TARGET_DIR:-target}/release/examples/bench-search"
	"$${CARGO_TARGET_DIR:-target}/release/examples/bench-snapshot"
	"$${CARGO_TARGET_DIR:-target}/release/examples/bench-stream"

# No path of this machine stands in the binaries, so they are the same from any
# machine. The checkout's own need no flag, compilers get them relative to it;
# and a flag that named it would compile everything anew in each clone.
dist_target := x86_64-unknown-linux-musl
dist: export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS = \
	--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo \
	--remap-path-prefix=$(abspath $(or $(CARGO_TARGET_DIR),target))=/target
dist:
	@tests/setup.sh dist
	cargo build --workspace --bins --locked --release --target $(dist_target)
	@mkdir -p dist
	@for name in remora-agent remora remora-integration; do \
		cp "$${CARGO_TARGET_DIR:-target}/$(dist_target)/release/$$name" dist/; \
		printf '%s  %s bytes\n' "dist/$$name" "$$(stat -c %s dist/$$name)"; \
	done

images: dist
	@tests/setup.sh images
	@images/build.sh

test-integration:
	@tests/cluster/run.sh

test-e2e:
	@RIG_PROFILE=full tests/cluster/run.sh

# As a Job beside the server, from where both ways are as long.
bench-cluster:
	@SUITE=--bench tests/cluster/run.sh

# Minutes; the Job has an hour more, in which its last round ends.
MINUTES ?= 30
soak:
	@SUITE="--soak $(MINUTES)" SUITE_SECONDS=$$(($(MINUTES) * 60 + 3600)) REGISTRY="$(REGISTRY)" tests/cluster/run.sh

cluster:
	@tests/rig/up.sh

cluster-down:
	@tests/rig/down.sh

clean:
	cargo clean
	rm -rf dist
