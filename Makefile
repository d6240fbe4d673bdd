# acrd's whole workshop. `make help` lists the targets.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT      ?= $(shell git rev-parse --short HEAD 2>/dev/null)
LDFLAGS     := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X github.com/moby/buildkit/version.Version=$(shell go list -m -f '{{.Version}}' github.com/moby/buildkit)
TOOLS       := $(CURDIR)/build/tools
GOLANGCI    := v2.15.0
GOVULNCHECK := v1.8.0
PACKAGES    := ca-certificates gcc git libc6-dev openssh-client $(if $(shell command -v runc),,runc) busybox-static skopeo postgresql webhook
# Servers that tests talk to are big, and installing one may start it for the network to reach: not on a machine of yours.
# A test whose server cannot be had is skipped.
SERVERS     := $(if $(CI),openssh-server docker-registry rabbitmq-server nats-server $(if $(shell command -v dockerd),,docker.io) $(if $(shell command -v npm),,npm))
AZURITE     := 3.35.0

# One set of flags for everything, so that tests re-use what the build compiled.
export CGO_ENABLED ?= 0
export GOFLAGS     := -trimpath -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help deps build demo test race integration soak bench lint vulns fmt fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what a bare Debian or Ubuntu lacks (needs root or sudo); with CI=1, the servers of tests, too
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	servers=""; for p in $(SERVERS); do dpkg -s $$p >/dev/null 2>&1 || servers="$$servers $$p"; done; \
	if [ -n "$$missing$$servers" ]; then \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "installing:$$missing$$servers"; \
	  policy=/usr/sbin/policy-rc.d; \
	  [ -e $$policy ] || { printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod 755 $$policy; trap "$$sudo rm $$policy" EXIT; }; \
	  install="$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-remove"; \
	  $$sudo apt-get update -qq; \
	  [ -z "$$missing" ] || $$install $$missing >/dev/null; \
	  for p in $$servers; do $$install $$p >/dev/null || echo "$$p cannot be installed: its tests are skipped"; done; \
	fi
	@[ -z "$(CI)" ] || [ -e $(TOOLS)/azurite-$(AZURITE) ] || { \
	  echo "installing: azurite"; mkdir -p $(TOOLS); \
	  if npm install --prefix $(TOOLS)/azurite --no-audit --no-fund --ignore-scripts --loglevel error azurite@$(AZURITE) >/dev/null; \
	  then touch $(TOOLS)/azurite-$(AZURITE); else echo "azurite cannot be installed: its tests are skipped"; fi; \
	}

build: ## build bin/acrd
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/acrd ./cmd/acrd

demo: deps ## build and push an image, run a task, all on this machine
	@examples/demo.sh

test: deps ## all tests: units, and integration on the real engine
	ACRD_INTEGRATION=1 go test -timeout 30m ./...

race: ## unit tests with the race detector
	CGO_ENABLED=1 go test -race ./...

integration: deps ## only the tests on the real engine and on real servers
	ACRD_INTEGRATION=1 go test -timeout 30m -count=1 ./integration/... ./internal/sinks/...

soak: deps ## kill daemon and engine 500 times under load (15 minutes; KILLS=n)
	ACRD_INTEGRATION=1 ACRD_SOAK=$(or $(KILLS),500) go test -run '^TestKilled$$' -count=1 -timeout 2h -v ./integration

bench: deps build ## benchmarks, against peers where there are any
	go test -run '^$$' -bench . -benchtime 10x -timeout 30m ./internal/... ./steps/... ./triggers/...
	go test -run '^$$' -bench . -benchtime 1x ./runner/...
	go test -run '^$$' -bench . -benchtime 1x -timeout 10m ./eventing/...
	ACRD_INTEGRATION=1 go test -run '^$$' -bench . -benchtime 1x -timeout 30m ./integration/...

lint: $(TOOLS)/golangci-lint-$(GOLANGCI) ## golangci-lint, commands on other systems, known vulnerabilities
	$(TOOLS)/golangci-lint-$(GOLANGCI) run ./...
	GOOS=darwin go vet ./cmd/acrd
	GOARCH=arm64 go vet ./cmd/acrd
	@$(MAKE) --no-print-directory vulns

vulns: $(TOOLS)/govulncheck-$(GOVULNCHECK)
	@if [ -f ../shared/vulndb/vulndb.tar.gz ]; then \
	  mkdir -p build/vulndb && tar -xzf ../shared/vulndb/vulndb.tar.gz -C build/vulndb && \
	  $(TOOLS)/govulncheck-$(GOVULNCHECK) -db "file://$(CURDIR)/build/vulndb" ./...; \
	else echo "no vulnerability database at ../shared/vulndb: skipped"; fi

$(TOOLS)/golangci-lint-$(GOLANGCI):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	@mv $(TOOLS)/golangci-lint $@

$(TOOLS)/govulncheck-$(GOVULNCHECK):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK)
	@mv $(TOOLS)/govulncheck $@

fmt: $(TOOLS)/golangci-lint-$(GOLANGCI) ## format
	$(TOOLS)/golangci-lint-$(GOLANGCI) fmt ./...

fuzz: ## every fuzz target for 30 s
	@grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r pkg; do \
	  grep -ho '^func Fuzz[A-Za-z0-9_]*' "$$pkg"/*_test.go | awk '{print $$2}' | while read -r target; do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime 30s "$$pkg"; \
	  done; done

clean: ## remove what make has built
	rm -rf bin build
