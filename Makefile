# The targets of the repository. "make help" lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go
AZURITE := azurite@3.37.0
DUCKDB := @duckdb/node-api@1.5.6-r.1
CLICKHOUSE := chdb@3.4.0
FUZZTIME ?= 20s

# Go files, without those that npm brings along.
GOFILES = $(shell find . -name '.?*' -prune -o -name node_modules -prune -o -name testdata -prune -o -name '*.go' -print)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build bin/whichpod
	$(GO) build -trimpath -o bin/whichpod ./cmd/whichpod

.PHONY: test
test: ## run the tests
	$(GO) test ./...

.PHONY: race
race: ## run the tests with the race detector (needs a C compiler)
	$(GO) test -race ./...

.PHONY: lint
lint: ## check with go vet, the end-to-end tests too, and gofmt
	$(GO) vet ./...
	$(GO) vet -tags e2e ./...
	@bad="$$(gofmt -l $(GOFILES))"; if [[ -n "$$bad" ]]; then printf 'gofmt would change:\n%s\n' "$$bad" >&2; exit 1; fi

# What "make bench" does beside the peers: how many tuples, how often.
TUPLES ?= 1200000
ROUNDS ?= 3

.PHONY: bench
bench: bench-code build .e2e/node_modules/@duckdb/node-api .e2e/node_modules/chdb ## measure the code, and whichpod beside ClickHouse and DuckDB: bin/peers.md
	$(GO) build -trimpath -o bin/peers ./benchmarks/peers
	bin/peers -tuples $(TUPLES) -rounds $(ROUNDS) -report bin/peers.md | tee bin/peers.txt

.PHONY: bench-code
bench-code: ## run the short benchmarks beside the code
	$(GO) test -short -run '^$$' -bench . -benchmem ./...

.PHONY: bench-plugins
bench-plugins: build ## write bench-report/report.html: network modes, lookup rules and times to identify, compared
	bin/whichpod bench report --out bench-report >/dev/null

# The programs that the end-to-end tests run: e2e/components.
SERVERS := $(addprefix .e2e/bin/,etcd kube-apiserver kubelet kwok)
# Which of the end-to-end tests run.
E2E ?= ./e2e/...

.PHONY: e2e
e2e: .e2e/node_modules/.bin/azurite-blob .e2e/node_modules/@duckdb/node-api $(SERVERS) ## run the end-to-end tests, or those in E2E; builds and installs what they need
	$(GO) test -tags e2e -count=1 -p 1 -timeout 3h -v $(E2E)

.PHONY: bench-agent
bench-agent: ## measure the agent beside a node with 20,000 new connections a second
	$(GO) test -tags e2e -count=1 -run '^$$' -bench Agent -benchtime 1x ./e2e/agent

# Minutes where nothing is in Go's build cache, seconds later. KWOK is a module of its
# own, for its Kubernetes is another than that of the servers.
.e2e/bin/kwok: e2e/components/kwok/go.mod e2e/components/kwok/go.sum
	cd e2e/components/kwok && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o ../../../$@ sigs.k8s.io/kwok/cmd/kwok

.e2e/bin/%: e2e/components/%/main.go e2e/components/go.mod e2e/components/go.sum
	cd e2e/components && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o ../../$@ ./$*

.e2e/node_modules/.bin/azurite-blob:
	npm install --prefix .e2e $(AZURITE) --no-audit --no-fund

.e2e/node_modules/@duckdb/node-api:
	npm install --prefix .e2e $(DUCKDB) --no-audit --no-fund

.e2e/node_modules/chdb:
	npm install --prefix .e2e $(CLICKHOUSE) --no-audit --no-fund

.PHONY: fuzz-short
fuzz-short: ## run each fuzz target for FUZZTIME (20s)
	@targets="$$(grep -oE '^func Fuzz[A-Za-z0-9_]*' $(filter %_test.go,$(GOFILES)) /dev/null | sort || true)"; \
	if [[ -z "$$targets" ]]; then echo 'found no fuzz target' >&2; exit 1; fi; \
	while IFS=: read -r file func; do \
		name="$${func#func }"; \
		echo "== $$name in $$(dirname "$$file")"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
	done <<< "$$targets"

.PHONY: clean
clean: ## remove what was built; the user's data stay
	rm -rf bin .e2e
