# The two main commands, `make demo` and `make test`, set up everything in a clean clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
apt = DEBIAN_FRONTEND=noninteractive $(SUDO) sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends $(1)' >/dev/null

.PHONY: demo test check lock clean

demo: $(VENV)/.demo
	@$(BIN)/emotion-edge demo

test: $(VENV)/.test tools check

# ruff, mypy and pytest, without setup. Tests marked quiet_clock compare durations with a limit, so a busy machine may fail
# them: those, and only those, get a second run, and the output has both.
check:
	$(BIN)/ruff check .
	$(BIN)/mypy
	@rc=0; $(BIN)/python -m pytest -m "not quiet_clock" || rc=$$?; \
	$(BIN)/python -m pytest -m quiet_clock || { [ $$? = 1 ] && $(BIN)/python -m pytest -m quiet_clock --last-failed; } || rc=$$?; \
	exit $$rc

# The faults of tests/test_chaos.py, for minutes; SOAK=full make soak: with full counts, for hours.
.PHONY: soak
soak: $(VENV)/.test tools
	@$(BIN)/python -m tests.soak

# Against a real Home Assistant: built once in HA (4 minutes, 1.5 GB), then 6 minutes a run.
.PHONY: ha-test
HA ?= $(HOME)/.cache/emotion-edge/home-assistant
ha-test: $(VENV)/.test tools
	@sh tests/ha/build.sh "$(HA)"
	@HOME_ASSISTANT="$(HA)" $(BIN)/python -m pytest -x -s -v tests/ha

# The arm64 package on an emulated Cortex-A72: golden vectors, unit tests, the demo. Needs Debian on x86_64.
.PHONY: arm64-test
ARM64 ?= $(HOME)/.cache/emotion-edge/arm64
arm64-test: tools deb13_arm64
	@sh tests/arm64.sh "$(ARM64)" $(BIN)/python

$(VENV)/bin/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt,python3-venv)
	@$(PYTHON) -m venv $(VENV)

# One stamp per pinned set. When a pull changes the pins, the stamp is older, and make installs again.
# The test set includes the demo set.
$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the pinned packages into $(VENV) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.test: requirements/test.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the pinned packages into $(VENV) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@ $(VENV)/.demo

# Programs the tests run.
.PHONY: tools
tools:
	@command -v ffmpeg >/dev/null || $(call apt,ffmpeg)
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || $(call apt,mosquitto)
	@command -v strace >/dev/null || $(call apt,strace)
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || $(call apt,chromium-headless-shell)

# docs/page.png for the README: two minutes.
.PHONY: screenshot
screenshot: $(VENV)/.test tools
	@$(BIN)/python -m tests.screenshot

# One file for every platform and Python; with hashes, without index addresses.
COMPILE = $(BIN)/uv pip compile pyproject.toml -q --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"
LOCK = $(COMPILE) --universal --python-version 3.10
# Each Debian package has one Python, so its lock has no markers (pip evaluates those for the Python it runs in). Bookworm
# starts from trixie's pins and changes what numpy 1 requires; the hashes cover every platform.
LOCK_DEBIAN = $(COMPILE) --python-platform aarch64-manylinux_2_28
lock: | $(VENV)/bin/python
	$(BIN)/python -m pip install -q uv
	$(LOCK) --extra demo --extra web --extra train --extra quantize --extra dev -o requirements/test.txt
	$(LOCK) --extra demo -c requirements/test.txt -o requirements/demo.txt
	$(LOCK) --extra web -c requirements/test.txt -o requirements/device.txt
	$(LOCK_DEBIAN) --extra web --python-version 3.13 -c requirements/device.txt -o requirements/trixie.txt
	cp requirements/trixie.txt requirements/bookworm.txt
	$(LOCK_DEBIAN) --extra web --python-version 3.11 requirements/bookworm.in -o requirements/bookworm.txt

# The Debian package in a Debian booted by systemd-nspawn; as root. SUITE=trixie for Debian 13. The tree is built once
# in BOOT (1 minute, 350 MB), then 5 minutes a run. BOOT_PACKAGE=F tests that package instead of a new one.
.PHONY: boot-test
SUITE ?= bookworm
BOOT ?= $(HOME)/.cache/emotion-edge/boot
BOOT_DEB = $(if $(filter trixie,$(SUITE)),deb13,deb12)_$(shell dpkg --print-architecture)
boot-test: $(VENV)/.test
	@command -v systemd-nspawn >/dev/null || { \
	  echo "boot-test: skipped, systemd-nspawn is not installed (apt install systemd-container)"; exit 0; }; \
	[ "$$(id -u)" = 0 ] || { echo "boot-test: needs root" >&2; exit 1; }; \
	package="$(BOOT_PACKAGE)"; \
	[ -n "$$package" ] || { $(BIN)/python systemd/debian/build.py --quick --out build/boot $(subst _, ,$(BOOT_DEB)) && \
	  package=$$(ls -t build/boot/emotion-edge_*~$(BOOT_DEB).deb | head -n 1); } && \
	sh tests/boot/build.sh "$(BOOT)/$(SUITE)" $(SUITE) && \
	BOOT_TREE="$(BOOT)/$(SUITE)" BOOT_PACKAGE="$$package" $(BIN)/python -m pytest -x -v tests/boot

# The Debian packages, into dist/; just one: make deb12_arm64. Needs dpkg-deb and, for the wheels, a network.
.PHONY: deb
DEBS := deb12_amd64 deb12_arm64 deb13_amd64 deb13_arm64
.PHONY: $(DEBS)
deb: $(DEBS)
$(DEBS): | $(VENV)/bin/python
	@$(BIN)/python systemd/debian/build.py $(subst _, ,$@)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
