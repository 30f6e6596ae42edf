# Weft. `make help` lists the targets.

GO      ?= go
BIN     := bin/weft
TIMEOUT ?= 18m

# One file that needs no library of the machine that it runs on.
export CGO_ENABLED := 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: deps build ## Show the reference deployment on this machine: lab, networks, VMs, packets (root)
	@scripts/demo $(BIN)

.PHONY: demo-down
demo-down: ## Remove every trace of the demo (root)
	@test ! -x $(BIN) || $(BIN) lab down
	@rm -rf /run/weft-demo
	@rmdir /var/lib/weft /run/weft-lab 2>/dev/null || true

.PHONY: test
test: deps check ## All tests: unit, property, golden, and end to end with real packets (root)
	$(GO) test -count=1 -timeout $(TIMEOUT) ./...

.PHONY: test-machines
test-machines: ## Real machines in qemu: a kernel of ours, and Debian with cloud-init, made from its packages (root, some 10 minutes)
	scripts/deps machines
	$(GO) test -count=1 -timeout $(TIMEOUT) -tags machines -run 'Machine|Image' ./internal/lab ./e2e

.PHONY: race
race: export CGO_ENABLED := 1
race: deps ## Tests of the packages with goroutines, under the race detector (root)
	$(GO) test -race -count=1 -timeout $(TIMEOUT) ./internal/run ./internal/server/store ./internal/server/dispatch ./internal/server/neutron ./internal/server/journal/... \
		./internal/host/agent ./internal/host/metadata ./internal/host/dns ./internal/host/fair ./internal/host/iptables ./internal/host/ovs/...

.PHONY: bench
bench: deps ## Measure what we promise, beside what Neutron does; writes docs/figures.md (root)
	$(GO) run ./bench -o docs/figures.md

.PHONY: bench-dataplane
bench-dataplane: deps ## Measure the data plane beside a plain Open vSwitch; writes docs/performance.md (root, some 10 minutes)
	$(GO) run ./bench/dataplane -o docs/performance.md

.PHONY: check
check: ## Formatting, vet, tidy module
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt'ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...

.PHONY: build
build: ## Build bin/weft
	$(GO) build -ldflags "-s -w" -o $(BIN) ./cmd/weft

.PHONY: deps
deps: ## Install what is missing: Open vSwitch, iptables, ipset … (root, Debian)
	@scripts/deps

.PHONY: generate
generate: ## Generate code anew (needs protoc, protoc-gen-go, protoc-gen-go-grpc)
	$(GO) generate ./...

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
