# layerbench: the common tasks. `make` alone lists them.
CARGO ?= cargo
BIN := target/release/layerbench
WORKLOAD ?= workloads/quick.toml
STORE ?= store
TOOLS := target/tools
FSX_VERSION := 0.3.2

.DEFAULT_GOAL := help
.PHONY: help build report tools test bench lint clean

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the release binary
	$(CARGO) build --release --locked

report: build ## Measure this machine and render reports/latest/index.html
	$(BIN) doctor --store $(STORE)
	$(BIN) run $(WORKLOAD) --store $(STORE)
	$(BIN) report
	@echo "open reports/latest/index.html"

tools: $(TOOLS)/bin/fsx ## Install fsx, which one of the tests runs, below target/tools

$(TOOLS)/bin/fsx:
	$(CARGO) install fsx --version =$(FSX_VERSION) --locked --root $(TOOLS)

test: tools ## Run every test; as root, once more as an ordinary user
	$(CARGO) build --locked --all-targets
	$(CARGO) test --locked
	@if [ "$$(id -u)" = 0 ]; then tests/as-user.sh; else echo "not root: tests that need root said why they were skipped"; fi

bench: ## Run the criterion benchmarks
	$(CARGO) bench --locked

lint: ## Check format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

clean: ## Remove what runs left, the stacks and the build
	@if [ -x $(BIN) ]; then $(BIN) clean --store $(STORE); fi
	$(CARGO) clean
