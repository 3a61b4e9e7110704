# What people and CI ask for by name. `make help` lists it.

.DEFAULT_GOAL := help
.PHONY: help test prove fuzz image figures run

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

test: ## every test; installs what it needs (Debian packages, npm packages)
	@bash tests/ops/test.sh

prove: ## the long tests that the documents' claims stand on, in release
	@bash tests/ops/prove.sh

fuzz: ## every fuzz target for FUZZ_SECONDS seconds (default 60)
	@bash tests/ops/fuzz.sh

image: ## the docker image, with docker or buildah, nothing pulled
	docker/build.sh

figures: ## measure all that docs/performance.md says, 40 minutes, and write its tables and plots
	cargo build --locked --release
	python3 benches/figures.py run
	python3 benches/figures.py render

run: ## the relay on 127.0.0.1:8080
	cargo run --locked --release
