# Everything a person or CI runs. `make` alone explains itself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
GO       ?= go
LINT     := $(GO) tool -modfile=hack/tools/lint/go.mod golangci-lint
TOOL     := $(GO) tool -modfile=hack/tools/go.mod
# Packages whose tests need a real cluster or the whole machine run by their own targets.
SLOW     := /hack/e2e|/hack/cluster/selftest
UNIT     := $$($(GO) list ./... | grep -vE '$(SLOW)')
FUZZTIME ?= 30s
SAY      := @printf '\033[1m== %s\033[0m\n'

##@ General
.PHONY: help
help: ## Show this text
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it
.PHONY: demo
demo: ## The whole story on a real cluster, from nothing; ends in demo: PASS or FAIL (BREAK=drop|reset|dup|split sabotages it)
	$(SAY) "demo: a cluster, the operator, serving pods, 3 upgrades, a rollback and a split under load"
	@$(GO) run ./hack/demo

.PHONY: cluster cluster-down
cluster: ## Start a real one-node Kubernetes on this machine
	@$(GO) run ./hack/cluster up
cluster-down: ## End it and leave nothing behind
	@$(GO) run ./hack/cluster down

##@ Build
.PHONY: build images generate
build: ## The programs, into bin/: operator, sidecar, kubectl plugin
	$(GO) build -o bin/axle-operator .
	$(GO) build -o bin/axle-sidecar ./sidecar
	$(GO) build -o bin/kubectl-axle ./cmd/kubectl-axle

generate: ## Write everything that is generated: deep copies, CRDs, RBAC, chart, protobuf
	@$(GO) run ./hack/gen

##@ Check
.PHONY: test
test: assets ## Every test that needs no cluster, with set-up
	$(SAY) "test: units, envtest, golden files, fuzz corpora, real processes"
	@KUBEBUILDER_ASSETS="$$($(GO) run ./hack/cluster assets)" \
		$(GO) test -count=1 -timeout 20m $(UNIT)

.PHONY: assets
assets: ## Build kube-apiserver and etcd once (minutes when cold, then cached)
	$(SAY) "assets: kube-apiserver and etcd for envtest"
	@$(GO) run ./hack/cluster assets >/dev/null

.PHONY: verify
verify: fresh lint vet vuln ## What CI checks before the tests: generated files, lint, vulnerabilities, repository rules
	$(SAY) "verify: the repository's own rules"
	@$(GO) test -count=1 -skip '^TestRun$$' . # TestRun starts the operator: 'make test' does

.PHONY: fresh lint vet vuln tidy
fresh: ## Generated files are fresh
	$(SAY) "verify: generated files are fresh"
	@before=$$(git status --porcelain); $(GO) run ./hack/gen; after=$$(git status --porcelain); \
		if [ "$$before" != "$$after" ]; then git --no-pager diff --stat; \
		echo "generated files are stale: run 'make generate' and commit"; exit 1; fi

lint: ## golangci-lint with .golangci.yml
	$(SAY) "verify: lint (the linter is built first when cold)"
	@$(LINT) run --allow-parallel-runners --timeout 15m ./...

vet: ## go vet and gofmt
	$(SAY) "verify: vet and gofmt"
	@$(GO) vet ./... && $(GO) vet -tags e2e,interop ./hack/e2e ./hack/interop
	@test -z "$$(gofmt -l . | tee /dev/stderr)"

vuln: ## Known vulnerabilities in what we call (prints why when the database cannot be reached)
	$(SAY) "verify: vulnerabilities"
	@bash hack/vuln.sh

.PHONY: e2e
e2e: ## The story and its accidents on a real cluster
	$(SAY) "e2e: a real cluster, real load, real accidents"
	@$(GO) test -tags e2e -count=1 -timeout 60m -v ./hack/e2e

.PHONY: interop
interop: ## Stock clients and servers of other languages through two sidecars that are upgraded (installs what is missing)
	$(SAY) "interop: SOFARPC, sofa-rpc-node, Dubbo, node-soap, ws, curl, wrk, grpc-go, nghttp2"
	@$(GO) test -tags interop -count=1 -timeout 30m -v ./hack/interop

.PHONY: storm
storm: ## 50 upgrades in a row of two plain processes under load (OTHER=BINARY: every second one by another release; HEDGE=1: with hedging)
	@$(GO) run ./hack/storm $(if $(OTHER),-other $(OTHER)) $(if $(HEDGE),-hedge)

.PHONY: bench
# BENCH=http1,bolt names parts, REPEAT=1 repetitions, WINDOW=200ms the measured time of a run, OUT= the folder for the results, KEEP=1 keeps what that has of other loads.
bench: ## CPU per request, added latency and memory beside nginx, HAProxy, Envoy and a C relay (BENCH= REPEAT= WINDOW= OUT=)
	@$(GO) run ./hack/bench $(if $(BENCH),-only $(BENCH)) $(if $(REPEAT),-repetitions $(REPEAT)) $(if $(WINDOW),-window $(WINDOW)) $(if $(OUT),-out $(OUT)) $(if $(KEEP),-keep)

.PHONY: fuzz
fuzz: ## Every decoder, FUZZTIME each
	@for p in $$(grep -rlE '^func Fuzz' --include=*_test.go . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$p/*_test.go | sed 's/func //'); do \
			echo "== $$p $$f"; $(GO) test -run xxx -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin .work
