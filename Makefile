# Everything is a program in commands/; this only names them and installs what they need.
SHELL := /bin/bash
NODE := PATH="$(CURDIR)/node_modules/.bin:$$PATH" node

.PHONY: up down flow doctor test check e2e rehearse chaos try bench tools

up: node_modules    ## everything from nothing, ending with an event followed through it
	@$(NODE) commands/up.ts

down: node_modules  ## take it down again, with its data
	@$(NODE) commands/down.ts

flow: node_modules  ## follow one event through the stack that is up
	@$(NODE) commands/flow.ts

# exit codes for scripts by the program itself, as make has but one for what fails
doctor: node_modules ## look for what is wrong, and say how to mend it; OPTIONS="--stack prod --json"
	@$(NODE) commands/doctor.ts $(OPTIONS)

test: node_modules  ## everything below, with a closing count
	@$(NODE) commands/test.ts test

check: node_modules ## all tests but those on a cluster
	@$(NODE) commands/test.ts check

e2e: node_modules   ## the tests on a cluster of our own
	@$(NODE) commands/test.ts e2e

rehearse: node_modules ## stack prod, against stand-ins of the clouds
	@$(NODE) commands/test.ts rehearse

chaos: node_modules ## kill every part under load, 500 times; OPTIONS="--seed 1 --kills 100" and others in commands/chaos.ts
	@$(NODE) commands/chaos.ts $(OPTIONS)

try: node_modules   ## the event flow without a cluster, as processes, until Ctrl-C
	@$(NODE) commands/try.ts

# OPTIONS="--quick" tries it in two minutes
bench: node_modules ## measure side by side with what else could be, into bench/results
	@$(NODE) commands/bench.ts --profile $(OPTIONS)

tools: node_modules ## build the tools of a machine without Minikube
	@$(NODE) test/tools/build.ts

node_modules: package-lock.json
	npm ci
	@touch node_modules
