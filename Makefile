.PHONY: test fmt lint unit
SHELL := bash

test: fmt lint unit

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit:
	cargo test --workspace --locked
