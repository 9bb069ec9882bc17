SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ': ## ' '/^[a-z-]+: ## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run the reference server on http://127.0.0.1:4000/ with 1,000,000 users in memory
	go run ./examples/server

.PHONY: load
load: ## Run the original's benchmark against a server in the same process and print ab's report
	go run ./loadtest

.PHONY: test
test: ## Run all tests under the race detector
	go test -race -timeout 30m ./...

.PHONY: flaky
flaky: ## Run all tests 5 times beside two busy loops and once on one processor (up to 2 hours); print what failed
	timeout --foreground 2h .ci/flaky

.PHONY: fuzz
fuzz: ## Fuzz each fuzz test for a minute; new failing inputs are kept in testdata/fuzz
	.ci/fuzz 1m

.PHONY: bench
bench: ## Run the benchmarks of bench (15 minutes); results and chart are kept in bench
	go test -run '^$$' -bench 'Engine|Stores|Sixty' -timeout 1h ./bench | tee bench/results.txt
	go test -run '^$$' -bench 'Update$$|Seed' -benchtime 5x -timeout 1h ./bench | tee -a bench/results.txt
	go test -run '^$$' -bench 'Serving|Concurrency' -benchtime 10x -timeout 1h ./bench -chart concurrency.svg \
		| tee -a bench/results.txt

.PHONY: bench-compare
bench-compare: ## Run the fast benchmarks and compare them with bench/baseline.txt by benchstat (5 minutes)
	.ci/bench-compare

.PHONY: soak
soak: ## Load, updates, faults and restarts at random, 15 minutes with 1 server and 15 with 3; print tables
	SOAK=15m .ci/run soak

.PHONY: faults
faults: ## Run the tests of faults, overload and kills 20 times under the race detector (an hour)
	go test -race -p 1 -count 20 -timeout 3h -v ./examples/server/... ./pgstore \
		-run 'Fault|Failover|Disk|LongTransaction|OldSnapshot|Overload|Slow|TooMany|OneOrder|Killed|Hang|Silent|Cut|Fence|Lease|Replaced' \
		| grep -E '^(---|ok|FAIL|panic| +[a-z_]+\.go)'

.PHONY: overload
overload: ## Send a server three times the load it can handle for three minutes; print the results
	OVERLOAD=3m .ci/run overload

.PHONY: ha
ha: ## Switch over, kill and partition the primary of a Patroni cluster under load, 3 times (40 minutes); print the outages
	.ci/patroni-image
	go test ./examples/server -run 'TestPatroni$$' -patroni -count 3 -v -timeout 3h | grep -v '^=== \|^ *time='

.PHONY: compose
compose: ## Build and start the containers under a name of their own, test them, and remove them
	.ci/run compose

.PHONY: lint
lint: ## Run the linters
	.ci/run lint

.PHONY: fmt
fmt: ## Format the code
	gofmt -w .

.PHONY: image
image: ## Pull the image postgres:17, or build it from Debian's packages where there is no registry
	.ci/postgres-image 17

.PHONY: ci
ci: ## Run all checks that a change must pass
	.ci/run
