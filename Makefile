# Lapstrake: `make` builds, `make demo` shows, `make test` tests everything.
SHELL := /bin/bash
GO ?= go
BIN := bin
export CGO_ENABLED ?= 0
# The same for the program and for its tests, or else everything is compiled twice.
FLAGS := -trimpath

.PHONY: all tools demo lab-demo test release release-check race lint cross bench property fuzz deps test-deps clean

all: $(BIN)/lapstrake tools

tools: $(BIN)/buildkitd $(BIN)/runc

# What a fresh Debian or Ubuntu lacks: libseccomp for runc, a static busybox for
# the generated bases, mkfs for disks of a stated size, Chromium for the reports.
deps:
	@scripts/deps

test-deps:
	@scripts/deps test

.PHONY: $(BIN)/lapstrake
$(BIN)/lapstrake:
	$(GO) build $(FLAGS) -o $@ ./cmd/lapstrake

# Built from the module cache, the daemon does not know its own version.
BUILDKIT_VERSION = $(shell $(GO) list -m -f '{{.Version}}' github.com/moby/buildkit)
$(BIN)/buildkitd: go.mod
	$(GO) build $(FLAGS) -ldflags "-X github.com/moby/buildkit/version.Version=$(BUILDKIT_VERSION)" -o $@ github.com/moby/buildkit/cmd/buildkitd

$(BIN)/runc: go.mod | deps
	CGO_ENABLED=1 $(GO) build $(FLAGS) -tags seccomp -o $@ github.com/opencontainers/runc

# The peer of the benchmarks, and what reads bake files; a module of its own, so
# that nothing else needs it.
$(BIN)/buildx: bench/peer/go.mod
	cd bench/peer && $(GO) build $(FLAGS) -o ../../$@ github.com/docker/buildx/cmd/buildx

demo: deps all
	@scripts/demo

# The case that started the project: see examples/issue-504.
lab-demo: deps all $(BIN)/buildx
	@examples/issue-504/demo

# The tests about bake files ask the real program.
test: test-deps all $(BIN)/buildx lint cross
	$(GO) test $(FLAGS) -parallel 4 -timeout 20m ./...
	cd deploy/check && $(GO) test ./...

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w"; exit 1; }
	$(GO) vet $(FLAGS) ./...

# The client works on Linux and macOS, amd64 and arm64.
cross:
	@for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
		echo "build and vet $$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build -o /dev/null ./cmd/lapstrake || exit 1; \
		GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) vet ./cmd/... ./internal/... || exit 1; \
	done

# The files of a release for every platform, in bin/release; nothing is published.
PLATFORMS ?=
release: deps
	@scripts/deps release
	rm -rf $(BIN)/release
	scripts/release $(BIN)/release $(PLATFORMS)

# Unpacks what was made, builds a fleet with it where there is no network, and makes
# the tarball of this machine once more in another place: the bytes must be equal.
release-check: test-deps release
	$(GO) build $(FLAGS) -o $(BIN)/gen ./internal/testfleet/gen
	cd deploy/release && $(GO) test -count=1 ./...

race: test-deps all $(BIN)/buildx
	CGO_ENABLED=1 $(GO) test -race ./...

bench: deps all $(BIN)/buildx
	scripts/bench

# The properties of the ledger and the scheduler, CHECKS generated cases of each.
CHECKS ?= 100000
property:
	$(GO) test $(FLAGS) -timeout 60m -run Property ./internal/decide/budget ./internal/decide/sched -rapid.checks=$(CHECKS)

# Every fuzz target for FUZZTIME each.
FUZZTIME ?= 30s
fuzz:
	@scripts/fuzz $(FUZZTIME)

clean:
	rm -rf $(BIN)
