# Assent. `make` builds, `make test` passes all tests, `make demo` shows the main job; `make help` lists the rest.
#
# One build tree a variant under build/: release (what is installed), test (crash points compiled in), asan,
# tsan, fuzz, cov.

VERSION  := 0.1.0
V        ?= release
B        := build/$(V)
PREFIX   ?= /usr/local
DESTDIR  ?=
CC       ?= cc
WERROR   ?= -Werror

RAFT_MIN := 0.22.1
PACKAGES := libpq libmariadb nanomsg libcjson libuv libsodium
FLAGS_release := -O2
FLAGS_test    := -O1 -DASSENT_CRASH_POINTS
FLAGS_asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DASSENT_CRASH_POINTS
FLAGS_fuzz    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan    := -O1 -fsanitize=thread -DASSENT_CRASH_POINTS
FLAGS_cov     := -O0 --coverage -fprofile-update=atomic -DASSENT_CRASH_POINTS

CPPFLAGS += -I. -D_GNU_SOURCE $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
CFLAGS   ?= -g
ALL_CFLAGS = -std=c11 $(FLAGS_$(V)) -fPIC -fvisibility=hidden -pthread -Wall -Wextra -Wshadow -Wconversion \
             -Wmissing-prototypes -Wstrict-prototypes $(WERROR) -MMD -MP $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(FLAGS_$(V)) -pthread $(LDFLAGS)

# A line a file; VERBOSE=1 shows the commands.
Q    := $(if $(VERBOSE),,@)
say  := $(if $(VERBOSE),@:,@printf '  %-4s %s\n')

obj = $(patsubst %.c,$(B)/%.o,$(1))

SHARED := $(call obj,$(wildcard libtx/shared/*.c))
# What is a whole process's business is none of a library's.
DAEMON := $(call obj,$(wildcard libtx/shared/daemon/*.c))
# A program that embeds a participant has the agent inside, without the drivers.
EMBED  := $(call obj,$(filter-out participant/main.c participant/rm%.c,$(wildcard participant/*.c)))
LIBTX  := $(call obj,$(wildcard libtx/*.c)) $(EMBED) $(SHARED)
COORD  := $(call obj,$(filter-out coordinator/main.c,$(wildcard coordinator/*.c)))
AGENT  := $(call obj,$(filter-out participant/main.c,$(wildcard participant/*.c)))
ADMIN  := $(call obj,$(wildcard coordinator/txadmin/*.c))
BENCH  := $(call obj,$(wildcard tests/bench/*.c))
TLIB   := $(call obj,$(wildcard tests/lib/*.c))
FUZZ   := $(call obj,$(filter-out tests/fuzz/libfuzzer.c,$(wildcard tests/fuzz/*.c)))
UNITS  := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c))
# The longest first, so that none of them is left running alone at the end.
LONG   := $(patsubst %,tests/e2e/test_%.c,disturbed group crash soak standby partition disorder one_phase admin disk)
E2ES   := $(patsubst %.c,$(B)/%,$(LONG) $(filter-out $(LONG),$(wildcard tests/e2e/test_*.c)))
EXAMPLES := $(patsubst %.c,$(B)/%,$(wildcard examples/*.c))

PROGRAMS := $(B)/txcoordd $(B)/txagentd $(B)/txadmin $(B)/txbench
LIBS     := $(B)/libtx.so $(B)/libtx.a

MSG_LIBS := -lnanomsg -lsodium
PG_LIBS  := $(shell pkg-config --libs libpq 2>/dev/null)
MARIADB_LIBS := $(shell pkg-config --libs libmariadb 2>/dev/null)
TX_LIBS  := $(PG_LIBS) -luv -lcjson $(MSG_LIBS)
AGENT_LIBS := $(MARIADB_LIBS) $(TX_LIBS)

all: check-raft $(PROGRAMS) $(LIBS) $(EXAMPLES)

# libraft before 0.22 loses acknowledged commits; refuse to build with it.
check-raft:
	@pkg-config --atleast-version=$(RAFT_MIN) raft || { \
	  echo "Assent needs libraft $(RAFT_MIN) or later (found: $$(pkg-config --modversion raft 2>/dev/null || echo none))."; \
	  echo "On Debian 12 it is in bookworm-backports: 'make deps' installs it and everything else."; exit 1; }

deps:
	@tests/lib/install-deps

$(B)/%.o: %.c
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(B)/txcoordd: $(B)/coordinator/main.o $(COORD) $(SHARED) $(DAEMON)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lraft -luv -lcjson $(MSG_LIBS)
$(B)/txagentd: $(B)/participant/main.o $(AGENT) $(SHARED) $(DAEMON)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(AGENT_LIBS)
$(B)/txadmin: $(ADMIN) $(SHARED)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcjson $(MSG_LIBS)
$(B)/txbench: $(BENCH) $(LIBTX)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TX_LIBS)

# One relocatable object with every hidden symbol made local: the archive shows the public names alone, too.
$(B)/libtx.a: $(LIBTX)
	$(say) AR $@
	$(Q)$(LD) -r -o $(B)/libtx-all.o $^
	$(Q)objcopy --localize-hidden $(B)/libtx-all.o
	$(Q)rm -f $@ && ar rcs $@ $(B)/libtx-all.o
$(B)/libtx.so: $(LIBTX)
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libtx.so.0 -Wl,-z,defs -o $@.0 $^ $(TX_LIBS)
	$(Q)ln -sf libtx.so.0 $@

# As a user's program: with the installed headers' names.
$(B)/examples/%.o: CPPFLAGS += -Ilibtx
$(B)/examples/mariadb: TX_LIBS += $(MARIADB_LIBS)
$(B)/examples/%: $(B)/examples/%.o $(B)/libtx.a
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TX_LIBS)

# A test is linked with everything but the mains, from archives, so that it takes just what it uses.
# (q, not r: some files of different directories have one name.)
$(B)/tests/all.a: $(sort $(COORD) $(AGENT) $(LIBTX) $(filter-out %/connections.o,$(DAEMON)) $(TLIB) $(FUZZ))
	$(say) AR $@
	$(Q)rm -f $@ && ar qcs $@ $^
$(UNITS) $(E2ES): $(B)/tests/%: $(B)/tests/%.o $(B)/tests/all.a
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka -lraft $(AGENT_LIBS)

build-tests: all $(UNITS) $(E2ES) $(B)/tests/soak/soak $(B)/tests/sim/sim

# Tests run in a make of their own, which has the variant, all cores to build with, and the libraries just installed.
JOBS ?= $(shell nproc)
submake = tests/lib/install-deps && $(MAKE) --no-print-directory -j$(JOBS) V=$(1) build-tests && \
          $(MAKE) --no-print-directory V=$(1) $(2)
test: ; @$(call submake,test,run-tests)
asan: ; @$(call submake,asan,run-tests)
tsan: ; @$(call submake,tsan,run-thread-tests)

run-tests: export ASAN_OPTIONS := detect_leaks=1:detect_stack_use_after_return=1
run-tests: export UBSAN_OPTIONS := print_stacktrace=1
run-tests:
	@tests/lib/run-tests $(B)/log $(E2ES) $(UNITS)
run-thread-tests:
	@tests/lib/run-tests $(B)/log $(UNITS) $(B)/tests/e2e/test_threads $(B)/tests/e2e/test_participant

# What of the protocol's own code the unit tests and the simulator's short run reach, in branches (tests/COVERAGE.md says
# why not all). An assert's other side is a bug of ours, and what the macros of uthash and utlist do inside is theirs.
PURE := coordinator/commit.c $(wildcard coordinator/ledger*.c) coordinator/record.c participant/branch.c \
        $(wildcard libtx/shared/wire*.c libtx/shared/secure*.c) \
        $(patsubst %,libtx/shared/%.c,txid ranges pg_proof context)
coverage:
	@tests/lib/install-deps && tests/lib/install-deps coverage
	@$(MAKE) --no-print-directory -j$(JOBS) V=cov run-coverage
run-coverage: $(UNITS) $(B)/tests/sim/sim
	@find $(B) -name '*.gcda' -delete
	@tests/lib/run-tests $(B)/log $(UNITS) || echo 'coverage: some of these failed; what the rest reaches:'
	@gcovr --root . $(PURE:%=--filter '%$$') --branches --exclude-unreachable-branches \
	  --exclude-branches-by-pattern '.*\b(assert\(|HASH_|DL_)' $(B)/coordinator $(B)/participant $(B)/libtx

# What valgrind thinks of the programs that read bytes from outside and keep them: it knows of memory that was never
# written, which the sanitizers do not.
MEMCHECKED := $(patsubst %,$(B)/tests/unit/test_%,secure wire record ledger commit driver)
memcheck:
	@tests/lib/install-deps && tests/lib/install-deps memcheck
	@$(MAKE) --no-print-directory -j$(JOBS) V=test run-memcheck
run-memcheck: $(MEMCHECKED)
	@for t in $^; do echo "memcheck $$t"; valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
	  --child-silent-after-fork=yes $$t >$(B)/memcheck.log 2>&1 || { cat $(B)/memcheck.log; exit 1; }; done

# The protocol as a model, checked with Spin: see tests/model/README.md.
model:
	@tests/lib/install-deps model && tests/model/check
model-full:
	@tests/lib/install-deps model && MODEL_SECONDS=3600 MODEL_MEMORY_MB=12000 tests/model/check --full

# What shows, breaks and measures all of it together. (The archive comes last, whatever order make has them in.)
HARNESSES := $(foreach h,demo soak failover recovery,$(B)/tests/$(h)/$(h))
$(B)/tests/demo/demo: $(call obj,$(wildcard tests/demo/*.c)) $(B)/tests/bench/bench_stats.o
$(B)/tests/soak/soak: $(call obj,$(wildcard tests/soak/*.c))
$(B)/tests/failover/failover: $(call obj,$(wildcard tests/failover/*.c))
$(B)/tests/recovery/recovery: $(call obj,$(wildcard tests/recovery/*.c)) $(B)/tests/bench/bench_stats.o
$(HARNESSES): $(B)/tests/all.a
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(B)/tests/all.a $(AGENT_LIBS)

# Everything that reads bytes from outside, by libFuzzer: make fuzz SECONDS=60 TARGET=wire. Clang warns of other things
# than gcc does, which is the judge.
SECONDS ?= 60
FUZZ_CC ?= clang
FUZZ_CFLAGS := -g -Wno-sign-conversion -Wno-string-conversion -Wno-gnu-variable-sized-type-not-at-end
fuzzmake = tests/lib/install-deps fuzz && \
           $(MAKE) --no-print-directory -j$(JOBS) V=fuzz CC=$(FUZZ_CC) CFLAGS="$(FUZZ_CFLAGS)" build/fuzz/fuzz
fuzz: ; @$(fuzzmake) && tests/fuzz/run $(SECONDS) $(TARGET)
# What a fuzzer has found to be of use, and is not there yet, goes into the repository's corpus.
fuzz-corpus: ; @$(fuzzmake) && tests/fuzz/run --keep $(TARGET)
$(B)/fuzz: $(B)/tests/fuzz/libfuzzer.o $(B)/tests/all.a
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ -lraft $(AGENT_LIBS)

# The simulator: the product's objects over a simulated loop, network, disk and clock (tests/sim/README.md). It defines
# libuv's and channel.c's functions itself; these of the C library's and of the product's it looks at on the way.
SIM_WRAP := open openat close read write pread pwrite fsync fdatasync ftruncate flock fstat fstatat renameat unlinkat \
            fdopendir readdir closedir poll eventfd clock_gettime getrandom pthread_create pthread_join pthread_cond_wait \
            pthread_cond_timedwait pthread_cond_broadcast ledger_apply commit_step commit_vote commit_report \
            commit_report_direct branch_on branch_next wal_set_vote call_result crash_point
comma := ,
$(B)/tests/sim/sim: $(call obj,$(wildcard tests/sim/*.c)) $(B)/tests/all.a
	$(say) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) $(SIM_WRAP:%=-Wl$(comma)--wrap=%) -o $@ $(filter %.o,$^) $(B)/tests/all.a -lraft -lcjson $(MSG_LIBS)

build = $(MAKE) --no-print-directory -j$(JOBS) V=$(1) all build/$(1)/tests/$(2)
# The demonstration lets an application die between its PREPAREs, so it runs the build that has crash points.
demo: deps
	@$(call build,test,demo/demo) && tests/lib/in-temporary build/test/tests/demo/demo
# Random faults under load: make soak MINUTES=10 SEED=1. More options: build/test/tests/soak/soak --help.
MINUTES ?= 1
soak: deps
	@$(call build,test,soak/soak)
	@build/test/tests/soak/soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(SOAK_ARGS)

# The simulator: make sim MINUTES=2 SEED=1, and one that goes on through the night, from a seed of the day.
sim: MINUTES := $(if $(filter command line environment,$(origin MINUTES)),$(MINUTES),2)
sim: deps
	@$(call build,test,sim/sim)
	@build/test/tests/sim/sim --minutes $(MINUTES) $(if $(SEED),--from $(SEED)) $(SIM_ARGS)
HOURS ?= 8
sim-nightly: deps
	@$(call build,test,sim/sim)
	@build/test/tests/sim/sim --sabotage all
	@build/test/tests/sim/sim --hours $(HOURS) --from $(or $(SEED),$(shell date +%Y%m%d000000)) $(SIM_ARGS)

released = $(call build,release,$(1)) && tests/lib/in-temporary build/release/tests/$(1)
run: deps ; @$(call released,demo/demo) --run
bench: deps ; @$(call released,demo/demo) --bench $(BENCH_ARGS)
bench-security: deps
	@$(call released,demo/demo) --bench --modes=clear,direct --base=clear $(BENCH_ARGS)
bench-group: deps ; @$(call released,demo/demo) --group
bench-failover: deps ; @$(call released,failover/failover) $(BENCH_ARGS)
bench-recovery: deps ; @$(call released,recovery/recovery) $(BENCH_ARGS)

# There may be blanks in it.
ROOT = $(DESTDIR)$(PREFIX)

# A systemd unit, with what both have in common.
unit = sed -e '/@HARDENING@/{r libtx/shared/unit-hardening.in' -e 'd}' -e 's|@PREFIX@|$(PREFIX)|' $(1)
UNIT_FILES := coordinator/txcoordd.service participant/txagentd.service

install: all
	install -d "$(ROOT)/sbin" "$(ROOT)/bin" "$(ROOT)/lib/pkgconfig" "$(ROOT)/include" \
	  "$(ROOT)/share/man/man3" "$(ROOT)/share/man/man8" "$(ROOT)/share/assent/sql" \
	  "$(ROOT)/lib/systemd/system" "$(ROOT)/lib/sysusers.d"
	install -m755 $(B)/txcoordd $(B)/txagentd "$(ROOT)/sbin"
	install -m755 $(B)/txadmin $(B)/txbench "$(ROOT)/bin"
	install -m755 $(B)/libtx.so.0 "$(ROOT)/lib" && ln -sf libtx.so.0 "$(ROOT)/lib/libtx.so"
	install -m644 $(B)/libtx.a "$(ROOT)/lib"
	install -m644 libtx/libtx.h libtx/libtx_*.h "$(ROOT)/include"
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' libtx/libtx.pc.in > "$(ROOT)/lib/pkgconfig/libtx.pc"
	install -m644 docs/man/*.3 "$(ROOT)/share/man/man3"
	install -m644 docs/man/*.8 "$(ROOT)/share/man/man8"
	install -m644 sql/* "$(ROOT)/share/assent/sql"
	$(foreach u,$(UNIT_FILES),$(call unit,$(u).in) > "$(ROOT)/lib/systemd/system/$(notdir $(u))" &&) :
	install -m644 libtx/shared/assent.sysusers "$(ROOT)/lib/sysusers.d/assent.conf"
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

# What install has put there, and no directory that others may use.
uninstall:
	cd "$(ROOT)" && rm -f sbin/txcoordd sbin/txagentd bin/txadmin bin/txbench \
	  lib/libtx.so lib/libtx.so.0 lib/libtx.a lib/pkgconfig/libtx.pc \
	  $(patsubst %,lib/systemd/system/%,$(notdir $(UNIT_FILES))) lib/sysusers.d/assent.conf \
	  $(patsubst libtx/%,include/%,$(wildcard libtx/libtx.h libtx/libtx_*.h)) \
	  $(patsubst docs/man/%,share/man/man3/%,$(wildcard docs/man/*.3)) \
	  $(patsubst docs/man/%,share/man/man8/%,$(wildcard docs/man/*.8)) && rm -rf share/assent
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

# What systemd thinks of the units: 0 is the safest, 10 the most exposed.
systemd-score:
	@mkdir -p $(B) && $(foreach u,$(UNIT_FILES),$(call unit,$(u).in) > $(B)/$(notdir $(u)) && \
	  systemd-analyze security --offline=true --no-pager $(B)/$(notdir $(u)) | tail -n 1 &&) :

clean:
	rm -rf build

help:
	@echo 'make                 build what is installed'
	@echo 'make install         PREFIX=/usr/local DESTDIR='
	@echo 'make uninstall       with the same'
	@echo 'make deps            install what is missing (apt)'
	@echo 'make systemd-score   how exposed the installed systemd units are'
	@echo 'make clean'
	@echo
	@echo 'make demo            the main job, before your eyes'
	@echo 'make run             servers and daemons to try'
	@echo
	@echo 'make test            install what is missing, pass all tests'
	@echo 'make asan            the tests under ASan and UBSan'
	@echo 'make tsan            the threads of libtx under TSan'
	@echo 'make coverage        the branches of the protocol that the unit tests and the simulator reach'
	@echo 'make memcheck        six unit programs under valgrind'
	@echo 'make fuzz            SECONDS=60 TARGET=t: bytes from outside, by libFuzzer; tests/fuzz/README.md'
	@echo 'make model           the protocol model-checked with Spin; make model-full takes longer and checks more'
	@echo 'make soak            MINUTES=1 SEED=s: random faults, and whether every record agrees with the banks'
	@echo
	@echo 'make sim             MINUTES=2 SEED=s: a group in one process, every interleaving under a seed'
	@echo 'make sim-nightly     HOURS=8: the same for hours, after its switches'
	@echo
	@echo 'make bench           what atomicity costs'
	@echo 'make bench-security  what encryption and authentication cost'
	@echo 'make bench-group     coordinators alone, one and three'
	@echo 'make bench-failover  what a failover takes'
	@echo 'make bench-recovery  how fast branches in doubt are resolved'

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: all check-raft deps install uninstall systemd-score clean help demo run soak sim sim-nightly fuzz fuzz-corpus bench \
        bench-security bench-group bench-failover bench-recovery \
        build-tests test asan tsan run-tests run-thread-tests model model-full coverage run-coverage \
        memcheck run-memcheck
.SECONDARY:
