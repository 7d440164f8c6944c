# mod_walt_vpn: plain make, so that a distribution's flags reach compiler and linker.
#
#   make                build mod_walt_vpn.so            (APXS=/path/to/apxs CFLAGS=... LDFLAGS=...)
#   make install        install it, and walt-vpn-check   (DESTDIR=... PREFIX=/usr/local)
#   make check          test it with what is installed, in three minutes   (TESTS=test/boot PYTEST_FLAGS=...)
#   make check-all      and what takes longer            (likewise)
#   make clean
#
# These install what they need when they are run as root, and say what to install otherwise:
#
#   make run            try it: an entrypoint on this machine, until Ctrl-C
#                                     (PORT=8080 NODE=ip WALT_SERVER=host[:port] or WALT_VERSION=coming)
#   make test           build, and test everything
#   make test-firmware  boot iPXE, UEFI and Linux in QEMU through it, and resume with curl, wget and others
#   make bench          how fast, beside the same: tables  (SECTIONS="storm cut"; all: test/bench/bench.py)
#   make picture        docs/status.png: the status page during a storm of nodes
#   make compare        it and the configurations that WalT documents: a table of who does what
#   make static         cppcheck
#   make faults         nodes against a WalT server that fails: a table
#   make soak           everything at once, for two minutes     (SOAK_FLAGS='--seconds 600 --seed 7 --mpm prefork')
#   make fuzz           the judgement of requests, for a while     (FUZZ_SECONDS=600)
#   make deb            the Debian package, in build/deb; runs the tests (DEB_BUILD_OPTIONS=nocheck: does not)
#   make rpm            an RPM in Fedora's layout, in build/rpm
#   make fresh          all of this on minimal Debian systems that it makes: a table
#                                                        (SUITES="bookworm trixie")

APXS       ?= apxs
CFLAGS     ?= -g -O2
CPPFLAGS   ?=
LDFLAGS    ?=
LDLIBS     ?= -lcrypto

# What apxs says, asked once and only when it is used: "make run" may have to install it first.
ask_apxs    = $(or $(shell $(APXS) -q $1),$(error no answer from "$(APXS) -q $1": install \
              httpd's headers (Debian: apache2-dev), or say where it is (make APXS=...)))
INCLUDEDIR  = $(eval INCLUDEDIR := $(call ask_apxs,INCLUDEDIR))$(INCLUDEDIR)
LIBEXECDIR  = $(eval LIBEXECDIR := $(call ask_apxs,LIBEXECDIR))$(LIBEXECDIR)
APR_FLAGS   = $(eval APR_FLAGS := $(shell $(call ask_apxs,APR_CONFIG) --includes --cppflags))$(APR_FLAGS)
APU_FLAGS   = $(eval APU_FLAGS := $(shell $(call ask_apxs,APU_CONFIG) --includes))$(APU_FLAGS)

# What the module itself needs, whatever flags come from outside.  httpd's headers are system
# headers: their warnings are not ours to mend.
NEEDED_CPPFLAGS  = -Isrc -isystem $(INCLUDEDIR) \
                   $(patsubst -I%,-isystem %,$(filter-out -I/usr/include,$(APR_FLAGS) $(APU_FLAGS)))
NEEDED_CFLAGS   := -std=c11 -fPIC -pthread -Wall -Wextra
NEEDED_LDFLAGS  := -shared -pthread -Wl,--as-needed -Wl,--version-script=src/exports.map

SOURCES := mod_walt_vpn.c $(wildcard src/*/*.c)
OBJECTS := $(SOURCES:.c=.o)

all: mod_walt_vpn.so

mod_walt_vpn.so: $(OBJECTS) src/exports.map
	$(CC) $(CFLAGS) $(NEEDED_LDFLAGS) $(LDFLAGS) -o $@ $(OBJECTS) $(LDLIBS)

%.o: %.c $(wildcard src/*/*.h)
	$(CC) $(CPPFLAGS) $(NEEDED_CPPFLAGS) $(CFLAGS) $(NEEDED_CFLAGS) -c -o $@ $<

# Where walt-vpn-check and the manual pages go; httpd's modules are where apxs says.
PREFIX ?= /usr/local

install: mod_walt_vpn.so
	install -D -m 644 mod_walt_vpn.so $(DESTDIR)$(LIBEXECDIR)/mod_walt_vpn.so
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin share/walt-vpn share/man/man1 share/man/man5)
	install check/walt-vpn-check $(DESTDIR)$(PREFIX)/share/walt-vpn
	install -m 644 check/*.py $(DESTDIR)$(PREFIX)/share/walt-vpn
	ln -sf ../share/walt-vpn/walt-vpn-check $(DESTDIR)$(PREFIX)/bin
	install -m 644 check/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 conf/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	ln -sf mod_walt_vpn.5 $(DESTDIR)$(PREFIX)/share/man/man5/walt_vpn.5

clean:
	rm -rf $(OBJECTS) mod_walt_vpn.so build check/__pycache__ test/__pycache__ test/*/__pycache__

# Debian's python3, which has Debian's modules, even where PATH has another one before it.
PYTHON       ?= /usr/bin/python3
PYTEST_FLAGS ?=
TESTS        ?= test
PORT         ?= 8080
WALT_SERVER  ?=
WALT_VERSION ?=
NODE         ?= 192.168.152.7

export PYTHONDONTWRITEBYTECODE = 1

# Most tests wait most of the time: so many side by side keep two cores busy.  The tests of test/firmware take minutes and
# packages of their own: "make test-firmware".
TESTS_AT_ONCE ?= 8

define run_tests
	side_by_side=; ! $(PYTHON) -c 'import xdist' 2>/dev/null || side_by_side='-n $(TESTS_AT_ONCE)'; \
	$(PYTHON) -m pytest $$side_by_side --ignore=test/firmware $1 $(PYTEST_FLAGS) $(TESTS)
endef

check: mod_walt_vpn.so
	$(call run_tests,-m 'not thorough')

check-all: mod_walt_vpn.so
	$(call run_tests)

test:
	test/install build run test compare browser monitor rpm fail2ban
	$(MAKE) --no-print-directory all
	$(if $(wildcard test/firmware/install),$(MAKE) --no-print-directory test-firmware)
	$(MAKE) --no-print-directory check-all

test-firmware:
	test/firmware/install
	$(MAKE) --no-print-directory all
	FIRMWARE=required $(PYTHON) -m pytest $(PYTEST_FLAGS) test/firmware

run:
	@test/install build run
	@$(MAKE) --no-print-directory --silent all
	@$(PYTHON) test/commands/run.py --port '$(PORT)' --walt-server '$(WALT_SERVER)' --node '$(NODE)' \
		$(if $(WALT_VERSION),--walt-version '$(WALT_VERSION)')

picture:
	@test/install build run browser
	@$(MAKE) --no-print-directory --silent all
	@$(PYTHON) test/commands/picture.py docs/status.png

compare:
	@test/install build run test compare
	@$(MAKE) --no-print-directory --silent all
	@$(PYTHON) test/commands/compare.py

# Its programs in C are no part of the module.
bench:
	@test/install build run compare bench
	@$(MAKE) --no-print-directory --silent all build/bench/walt build/bench/nodes build/bench/slow_link
	@$(PYTHON) test/bench/bench.py $(SECTIONS)

build/bench/%: test/bench/%.c test/bench/image.c test/bench/image.h
	@mkdir -p build/bench
	$(CC) -std=c11 -O2 -g -Wall -Wextra -o $@ $< test/bench/image.c -lcrypto

# The parameters of a hook and of a callback are as httpd has them.
static:
	test/install static
	cppcheck --quiet -Isrc --error-exitcode=1 --std=c11 --enable=warning,style,performance,portability \
		--suppress=variableScope --suppress=missingInclude --suppress=constParameter $(SOURCES)

FUZZ_SECONDS ?= 600
FUZZ_CC      ?= clang

SOAK_FLAGS ?=

soak: mod_walt_vpn.so
	@test/install build run
	@$(PYTHON) test/commands/soak.py $(SOAK_FLAGS)

fuzz:
	@test/install fuzz
	@mkdir -p build/fuzz/corpus
	@$(PYTHON) -B test/helpers/request_targets.py build/fuzz/corpus
	$(FUZZ_CC) -std=c11 -g -O1 -Wall -Wextra -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-Isrc -o build/fuzz/fuzz_boot_request test/fuzz/fuzz_boot_request.c src/request/judge.c
	cd build/fuzz && ./fuzz_boot_request -max_total_time=$(FUZZ_SECONDS) -max_len=400 -print_final_stats=1 \
		-dict=../../test/fuzz/fuzz_boot_request.dict corpus

faults:
	@test/install build run test compare
	@$(MAKE) --no-print-directory --silent all
	@$(PYTHON) test/commands/fault_table.py

deb:
	@test/install build deb $(if $(filter nocheck,$(DEB_BUILD_OPTIONS)),,run test)
	@debian/build.sh

rpm:
	@test/install build rpm
	@conf/rpm/build.sh

fresh:
	@test/install fresh
	@test/fresh/run.sh $(SUITES)

.PHONY: all install clean check check-all test test-firmware run bench compare picture static fuzz faults soak deb rpm fresh
