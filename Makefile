# layerbench: the common tasks. `make` alone lists them.
CARGO ?= cargo
BUILT ?= $(or $(CARGO_TARGET_DIR),target)/release
BIN := $(BUILT)/layerbench
WORKLOAD ?= workloads/quick.toml
STORE ?= store
PREFIX ?= /usr/local
SHARE := $(DESTDIR)$(PREFIX)/share
PROGRAMS := layerbench fuse-union
TOOLS := target/tools
FSX_VERSION := 0.3.2

.DEFAULT_GOAL := help
.PHONY: help build report study tools test bench lint install uninstall clean

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the release binaries
	$(CARGO) build --release --locked

report: build ## Measure this machine and render reports/latest/index.html
	$(BIN) doctor --store $(STORE)
	$(BIN) run $(WORKLOAD) --store $(STORE)
	$(BIN) report
	@echo "open reports/latest/index.html"

study: build ## Measure everything (under an hour) and render reports/latest/index.html
	$(BIN) doctor --store $(STORE)
	$(BIN) run workloads/study.toml --store $(STORE)
	$(BIN) report
	$(BIN) verdicts
	@echo "open reports/latest/index.html"

tools: $(TOOLS)/bin/fsx $(TOOLS)/linux-cloud $(TOOLS)/qemu $(TOOLS)/images ## What some tests run, below target/tools: fsx, a kernel, QEMU, umoci, skopeo (not installed)

$(TOOLS)/bin/fsx:
	$(CARGO) install fsx --version =$(FSX_VERSION) --locked --root $(TOOLS)

# Debian's packages, unpacked and not installed; elsewhere, and without package lists, the tests that need them say that they were skipped.
UNPACK = (mkdir -p $(TOOLS)/deb && cd $(TOOLS)/deb && rm -rf ../$(notdir $@).new && for package in $$packages; do \
	rm -f "$$package"_*.deb && apt-get download -qq "$$package" && dpkg-deb -x "$$package"_*.deb ../$(notdir $@).new || exit 1; \
	done && mv ../$(notdir $@).new ../$(notdir $@))

# A kernel for virtual machines.
$(TOOLS)/linux-cloud:
	@packages=$$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $$2; exit }'); \
	    [ -n "$$packages" ] && $(UNPACK) || echo "no kernel to boot: needs apt with package lists (apt-get update)"

# QEMU with all that this system lacks for it, unless it is installed; tests/qemu.sh starts it.
$(TOOLS)/qemu:
	@if ! command -v qemu-system-x86_64 > /dev/null; then \
	    packages=$$(apt-get install -s --no-install-recommends qemu-system-x86 2>/dev/null | awk '/^Inst/ { print $$2 }'); \
	    [ -n "$$packages" ] && $(UNPACK) || echo "no QEMU: needs apt with package lists (apt-get update)"; \
	fi

# Programs that make and copy images, with the libraries that Debian's base system lacks.
$(TOOLS)/images:
	@packages="umoci skopeo libgpgme11 libassuan0 libgpg-error0 libdevmapper1.02.1"; \
	    $(UNPACK) || echo "no umoci and skopeo: needs apt with package lists (apt-get update)"

test: ## Run every test; as root, once more as an ordinary user, and those of mounts with io_uring
	@$(MAKE) --no-print-directory tools || echo "fsx could not be installed: its tests say that they were skipped"
	$(CARGO) build --locked --all-targets
	$(CARGO) test --locked
	@if [ "$$(id -u)" = 0 ]; then tests/as-user.sh && tests/with-io-uring.sh; else echo "not root: tests that need root said why they were skipped"; fi

bench: ## Run the criterion benchmarks
	$(CARGO) bench --locked

lint: ## Check format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# Nothing is built here, so that root need not have a compiler: `make build && sudo make install`.
install: ## Install the programs, their manual and completions; PREFIX and DESTDIR say where
	@for program in $(PROGRAMS); do \
	    [ -x $(BUILT)/$$program ] || { echo "$(BUILT)/$$program is not there: make build, then make install" >&2; exit 1; }; \
	done
	install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/man/man1 $(SHARE)/bash-completion/completions \
	    $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -s -m 755 $(PROGRAMS:%=$(BUILT)/%) $(DESTDIR)$(PREFIX)/bin
	$(BIN) man --out $(SHARE)/man/man1
	set -e; for program in $(PROGRAMS); do \
	    $(BIN) completions bash --of $$program > $(SHARE)/bash-completion/completions/$$program; \
	    $(BIN) completions zsh --of $$program > $(SHARE)/zsh/site-functions/_$$program; \
	    $(BIN) completions fish --of $$program > $(SHARE)/fish/vendor_completions.d/$$program.fish; \
	done

uninstall: ## Remove what `make install` put there
	for program in $(PROGRAMS); do \
	    rm -f $(DESTDIR)$(PREFIX)/bin/$$program $(SHARE)/man/man1/$$program.1 $(SHARE)/man/man1/$$program-*.1 \
	        $(SHARE)/bash-completion/completions/$$program $(SHARE)/zsh/site-functions/_$$program \
	        $(SHARE)/fish/vendor_completions.d/$$program.fish; \
	done

clean: ## Remove what runs left, the stacks and the build
	@if [ -x $(BIN) ] && [ -d $(STORE) ]; then $(BIN) clean --store $(STORE); fi
	$(CARGO) clean
