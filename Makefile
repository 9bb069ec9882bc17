SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this
	@awk -F ': ## ' '/^[a-z-]+: ## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run the reference server on http://127.0.0.1:4000/, with 1,000,000 users in memory
	go run ./examples/server

.PHONY: load
load: ## Run the seed's benchmark against a server in the same process, and print ab's report
	go run ./loadtest

.PHONY: test
test: ## Run all tests under the race detector
	go test -race ./...

.PHONY: bench
bench: ## Run the benchmarks of bench, for some 15 minutes; what they print and draw is kept there
	go test -run '^$$' -bench 'Engine|Stores|Sixty' -timeout 1h ./bench | tee bench/results.txt
	go test -run '^$$' -bench 'Update$$|Seed' -benchtime 5x -timeout 1h ./bench | tee -a bench/results.txt
	go test -run '^$$' -bench 'Serving|Concurrency' -benchtime 10x -timeout 1h ./bench -chart concurrency.svg \
		| tee -a bench/results.txt

.PHONY: soak
soak: ## Load, updates, faults and restarts at random, for 30 minutes; prints a table
	go test ./examples/server/app -run 'TestSoak$$' -v -soak 30m -timeout 45m

.PHONY: faults
faults: ## Run the tests of faults, overload and kills 20 times in a row under the race detector, for an hour or so
	go test -race -p 1 -count 20 -timeout 3h -v ./examples/server/... ./pgstore \
		-run 'Fault|Failover|Disk|LongTransaction|Overload|Slow|TooMany|OneOrder|Killed|Hang|Silent|Cut|Lock' \
		| grep -E '^(---|ok|FAIL|panic| +[a-z_]+\.go)'

.PHONY: overload
overload: ## Three times the load that a server can carry, on 20,000 connections, for three minutes; prints what became of it
	OVERLOAD_SECONDS=180 .ci/run overload

.PHONY: compose
compose: ## Build the containers, start them under a name of their own, ask them for an answer, and take them away
	.ci/run compose

.PHONY: lint
lint: ## Run the linters
	.ci/run lint

.PHONY: fmt
fmt: ## Format the code
	gofmt -w .

.PHONY: image
image: ## Make sure that Docker has the image postgres:17, built from Debian's packages if it cannot be pulled
	.ci/postgres-image 17

.PHONY: ci
ci: ## Run everything that must hold before a change is merged
	.ci/run
