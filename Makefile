# The only entry point: make help lists what there is. CI calls make test.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
PROTOS  := proto/recoverproto/recover.proto proto/joinproto/join.proto
# Where the tests that boot VMs are. RUN chooses some of them, as for go test -run.
VM_PACKAGES := ./internal/vmtest ./internal/vmtest/cluster ./image/demo ./disk ./cmd/disk-mapper
export RUN
# How many inputs each fuzz target tries. A time (90s) works too, but Go 1.26 can
# then fail without a finding, at the moment the time is over (golang/go#75804).
FUZZTIME ?= 10000x

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install the Debian packages that the other targets need
	@image/install.sh

.PHONY: demo
demo: deps ## tell the story of one node: format, join, rejoin, recover
	@$(MAKE) --no-print-directory -j2 build image
	@image/isolated.sh build/demo

.PHONY: test
test: deps ## run every test
	@$(MAKE) --no-print-directory lint test-unit fuzz test-vm

.PHONY: build
build: deps ## build the programs, the demo and the metadata server into build/
	@mkdir -p build
	go build -trimpath -ldflags '$(LDFLAGS)' -o build/disk-mapper ./cmd/disk-mapper
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o build/ ./cmd/constellation ./cmd/joinservice ./image/demo ./image/metadata

.PHONY: image
image: deps ## build the VM image (kernel and initrd) into build/image/, if its recipe changed
	@image/build.sh

.PHONY: test-unit
test-unit: deps ## run the tests that need no VM, under the race detector
	go test -race -timeout 20m ./...

.PHONY: fuzz
fuzz: deps ## fuzz what is read from disks, peers and command lines; FUZZTIME=1000000x for more
	@mkdir -p build/fuzz
	@grep -rno '^func Fuzz[A-Za-z0-9]*' --include='*_test.go' . | sort | while IFS=: read -r file _ func; do \
	  echo "== $$file $${func#func }"; \
	  log=build/fuzz/$${func#func }.log; \
	  go test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null >"$$log" 2>&1 || { cat "$$log"; exit 1; }; \
	  tail -n 3 "$$log"; done

.PHONY: corpus
corpus: deps ## write the disks that must be refused, and what each must be refused for, into build/corpus/
	@mkdir -p build/corpus && go test ./disk -run '^TestWriteCorpus$$' -write-corpus=$(CURDIR)/build/corpus

.PHONY: test-vm
test-vm: build image ## run the tests that boot VMs; RUN=name chooses
	@rm -rf build/test && mkdir -p build/test
	go test -c -tags vm -o build/test/ $(VM_PACKAGES)
	@for p in $(VM_PACKAGES); do t=$(CURDIR)/build/test/$${p##*/}.test; echo "== $$p"; \
	  all=$$(sed -n 's/^func \(Test[A-Za-z0-9]*\)(t .*/\1/p' $$p/*vm_test.go | paste -sd '|'); \
	  (cd $$p && $(CURDIR)/image/isolated.sh "$$t" -test.v -test.timeout 40m -test.run "$${RUN:-^($$all)$$}"); done

.PHONY: lint
lint: deps ## vet, staticcheck, gofmt, generated code and go.mod up to date
	go vet ./... && go vet -tags vm ./...
	go tool staticcheck ./... && go tool staticcheck -tags vm ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted: $$(gofmt -l $$(git ls-files '*.go'))"; exit 1; }
	go mod tidy -diff
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; $(MAKE) --no-print-directory proto PROTO_OUT="$$dir"; \
	  for f in $$(cd "$$dir" && find . -name '*.go'); do diff -u "$$f" "$$dir/$$f" || { echo "$$f is out of date: run make proto"; exit 1; }; done

.PHONY: limits
limits: ## write docs/limits.md from the constants of the code
	go test ./docs -run '^TestLimits$$' -update

PROTO_OUT ?= .
.PHONY: proto
proto: deps ## generate Go code from the .proto files
	@mkdir -p build/tools
	@go build -o build/tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	@protoc --plugin=build/tools/protoc-gen-go --plugin=build/tools/protoc-gen-go-grpc \
	  --go_out=$(PROTO_OUT) --go_opt=module=disk-mapper --go-grpc_out=$(PROTO_OUT) --go-grpc_opt=module=disk-mapper $(PROTOS)

.PHONY: bench
bench: build image ## measure; the tables compare inside one run
	go test -run '^$$' -bench . -benchtime 2s ./...
	@mkdir -p build/test && go test -c -tags vm -o build/test/ ./disk
	@cd disk && BENCH=1 $(CURDIR)/image/isolated.sh $(CURDIR)/build/test/disk.test -test.run '^TestBench(NewDisks|Memory)$$' -test.timeout 45m

.PHONY: headers
headers: image ## make the real headers and superblocks in disk/testdata again; FIXTURES_TOOLS adds cryptsetups
	@mkdir -p build/test && go test -c -tags vm -o build/test/ ./disk
	@FIXTURES=$(CURDIR)/disk/testdata image/isolated.sh build/test/disk.test -test.v -test.run TestMakeFixtures -test.timeout 30m
