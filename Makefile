# Gatepost. `make help` lists the targets; nothing here needs a compiler before the packages are installed.
MODE   ?= release
BUILD  ?= build/$(MODE)
# One name for one directory, whoever calls: what objects depend on is noted under the name that they are built as.
override BUILD := $(patsubst $(CURDIR)/%,%,$(BUILD))
PREFIX ?= /usr/local
CXX    ?= g++
JOBS   ?= $(shell nproc)

ifeq ($(filter $(MODE),release debug asan tsan fuzz),)
$(error MODE is '$(MODE)': expected release, debug, asan, tsan or fuzz)
endif
define newline


endef
.DELETE_ON_ERROR:
.SUFFIXES:

bindir     = $(PREFIX)/bin
libexecdir = $(PREFIX)/libexec/gatepost
datadir    = $(PREFIX)/share/gatepost
mandir     = $(PREFIX)/share/man
unitdir    = $(PREFIX)/lib/systemd/system

# --- how to compile ---------------------------------------------------------------------------------------------------
WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Werror=unused-result
HARDEN   = -fstack-protector-strong -fstack-clash-protection -fcf-protection
FLAGS-release = -O2 -D_FORTIFY_SOURCE=2 $(HARDEN)
FLAGS-debug   = -Og -g -D_GLIBCXX_ASSERTIONS $(HARDEN)
# -O0: with optimisation the instrumented code takes five times as long to compile as all the rest.
# Null pointers crash anyway, and these machines read at any address: those two checks would be a third of the compile time.
FLAGS-asan    = -O0 -g1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -fsanitize=address,undefined -fno-sanitize=null,alignment \
                -fno-sanitize-recover=undefined
FLAGS-tsan    = -O0 -g1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -fsanitize=thread
# For clang; our own errors are what is looked for, not what clang says of code that g++ compiles.
FLAGS-fuzz    = -O1 -g1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -DGW_LIBFUZZER -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -w
# One-shot commands start faster without shared libraries: the C library is the only one that they load at their start. (What few
# commands need, SQLite and libcrypto, is loaded when it is first used.) The sanitizers want their own way.
LINK-release = -pie -nodefaultlibs -Wl,--gc-sections
LINK-debug   = -pie -nodefaultlibs
# Where there is gold: it links these large programs in half the time.
GOLD        := $(if $(shell command -v ld.gold),-fuse-ld=gold)
LINK-asan    = -fsanitize=address,undefined $(GOLD)
LINK-tsan    = -fsanitize=thread $(GOLD)
LINK-fuzz    = -fsanitize=fuzzer,address,undefined
STATIC_LIBS  = -Wl,-Bstatic -lpugixml -lstdc++ $(LIBM) -lgcc -lgcc_eh -Wl,-Bdynamic -lc
# libstdc++ wants a few simple functions of libm. exp, log and their like exist in the shared one only: what uses them sets LIBM so.
LIBM           = -lm
LIBM_SHARED    = -Wl,-Bdynamic -lm -Wl,-Bstatic
LDLIBS-release = $(STATIC_LIBS)
LDLIBS-debug   = $(STATIC_LIBS)
LDLIBS-asan    = -lpugixml
LDLIBS-tsan    = -lpugixml
LDLIBS-fuzz    = -lpugixml

# Warnings are the business of the release build.
WARN    = $(if $(filter asan tsan fuzz,$(MODE)),-w,$(WARNINGS))
COMPILE = $(CXX) -std=c++20 -pthread -fPIE -ffunction-sections -fdata-sections -D_FILE_OFFSET_BITS=64 -I. -Ilibcommon \
          $(WARN) $(FLAGS-$(MODE)) -MMD -MP $(CPPFLAGS) $(CXXFLAGS)
# The headers of the C++ library, parsed once: a third of all compile time. `make PCH=` does without, so that a file that does not
# include what it uses is found. g++ 12 forgets that what it has precompiled are headers of the system, where it does not warn.
PCH    ?= $(filter-out fuzz,$(MODE))
GCH     = $(if $(PCH),$(BUILD)/pch/std.hpp.gch)
USE_PCH = $(if $(PCH),-include $(BUILD)/pch/std.hpp -fpch-preprocess -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread -Wno-restrict)
# For CXX='ccache g++': the sum beside the precompiled header stands for it.
CCACHE_SLOPPINESS ?= pch_defines,time_macros
CCACHE_PCH_EXTSUM ?= 1
export CCACHE_SLOPPINESS CCACHE_PCH_EXTSUM
LINK    = $(CXX) -pthread $(LINK-$(MODE)) -Wl,-z,relro,-z,now -Wl,--as-needed -Wl,-O1 $(CXXFLAGS) $(LDFLAGS)
LDLIBS-common = $(LDLIBS-$(MODE))

# --- what is there to build -------------------------------------------------------------------------------------------
LIB_SRC := $(sort $(wildcard libcommon/*.cpp libcommon/*/*.cpp))
LIB     := $(BUILD)/libgatepost.a

# A program is a directory with a main.cpp; all but gw-forward are commands for people.
MAIN_SRC := $(sort $(wildcard tools/*/main.cpp))
TOOLS    := $(patsubst tools/%/main.cpp,%,$(MAIN_SRC))
SRC-gw-forward := $(sort $(wildcard tools/gw-send/forward/*.cpp))
SRC-gw-serve := $(sort $(wildcard tools/queue-inspect/serve/*.cpp)) tools/queue-inspect/options_serve.cpp
HELPERS  := $(if $(filter %/main.cpp,$(SRC-gw-forward)),gw-forward) gw-serve
$(foreach t,$(TOOLS),$(eval SRC-$(t) := $(sort $(wildcard tools/$(t)/*.cpp))))

LDLIBS-gw-forward = -lcurl
LDLIBS-gw-listen  = -lcivetweb -lssl -lcrypto
LDLIBS-gw-serve   = -lcivetweb -lssl -lcrypto

# Debian's CivetWeb loads OpenSSL by names and with a symbol that OpenSSL 3 does not have: these two stand in between.
SHIMS := libssl.so libcrypto.so
PROGRAMS = $(TOOLS:%=$(BUILD)/bin/%) $(HELPERS:%=$(BUILD)/libexec/gatepost/%) $(SHIMS:%=$(BUILD)/libexec/gatepost/%) \
           $(CHANNEL_SCRIPTS:scripts/%=$(BUILD)/libexec/gatepost/%)
COMPLETIONS = $(TOOLS:%=$(BUILD)/completion/bash/%) $(TOOLS:%=$(BUILD)/completion/zsh/_%)
MAN      := $(sort $(wildcard man/man[1-8]/*.[1-8]))
EXAMPLES := $(sort $(wildcard scripts/scale-out/* scripts/examples/* scripts/schema/* scripts/deploy/*))
UNITS    := $(sort $(wildcard scripts/systemd/*.service scripts/systemd/*.timer))
# What share/gatepost/ holds without a directory of its own.
MONITORING := $(sort $(wildcard scripts/monitoring/*))
# Channel programs and other scripts that belong into the libexec directory.
CHANNEL_SCRIPTS := $(sort $(wildcard scripts/gw-channel-*))
LIBEXEC_SCRIPTS := $(CHANNEL_SCRIPTS) scripts/import-sqlite scripts/gatepost-purge

UNIT_SRC := $(sort $(wildcard tests/unit/*.cpp))
# Units may test what is in a tool: everything of it but its main().
TOOL_SRC := $(filter-out %/main.cpp,$(sort $(wildcard tools/*/*.cpp tools/gw-send/forward/*.cpp tools/queue-inspect/serve/*.cpp)))
ifeq ($(MODE),tsan)
# Only where threads are. Reading command lines takes longest to compile and has none.
  UNIT_SRC := $(shell grep -l thread tests/unit/*.cpp)
  TOOL_SRC := $(filter-out %/options.cpp,$(filter tools/gw-listen/% tools/gw-send/forward/% tools/distributor/commit_thread.cpp,$(TOOL_SRC)))
  LIB_SRC  := $(filter-out libcommon/options_forward.cpp libcommon/options_message.cpp libcommon/options_selection.cpp,$(LIB_SRC))
endif
obj = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(1))
ALL_OBJ  := $(call obj,$(LIB_SRC) $(MAIN_SRC) $(TOOL_SRC) $(UNIT_SRC) $(SRC-gw-forward) $(SRC-gw-serve))
# Programs that only tests use: tests/<area>/<name>.cpp becomes $(BUILD)/test-bin/<name>.
TEST_PROGRAM_SRC := $(sort $(filter-out tests/unit/% tests/preload/%,$(wildcard tests/*/*.cpp)))
TEST_PROGRAMS    := $(foreach s,$(TEST_PROGRAM_SRC),$(BUILD)/test-bin/$(basename $(notdir $(s))))
# Libraries that tests preload into programs: tests/preload/<name>.cpp becomes $(BUILD)/test-bin/<name>.so.
TEST_PRELOADS    := $(patsubst tests/preload/%.cpp,$(BUILD)/test-bin/%.so,$(wildcard tests/preload/*.cpp))

.PHONY: all unit-tests test-programs deps help clean install uninstall deb check-deb check-newcomer lint demo demo-scaleout bench crash powerloss interop fuzz \
        check check-unit check-scenario check-meta check-crash check-large check-model check-asan check-tsan check-web
all: $(PROGRAMS) $(COMPLETIONS) ## build every tool (MODE=release|debug|asan|tsan, CXX, CXXFLAGS, CPPFLAGS, LDFLAGS)
unit-tests: $(BUILD)/unit-tests
test-programs: $(TEST_PROGRAMS) $(TEST_PRELOADS)

# One short line per step; `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "$(1)")

# What is missing is said before the compiler fails for want of it.
$(BUILD)/packages-looked-at: scripts/install-deps
	@mkdir -p $(@D)
	@if scripts/install-deps --hint; then touch $@; fi

$(BUILD)/obj/%.o: %.cpp | $(GCH) $(BUILD)/packages-looked-at
	@mkdir -p $(@D)
	$(call say,compile $<)
	$(Q)$(COMPILE) $(USE_PCH) -c -o $@ $<

# Other flags than those it was made with: the compiler takes the header beside it.
$(BUILD)/pch/std.hpp.gch: scripts/precompiled.hpp | $(BUILD)/packages-looked-at
	@mkdir -p $(@D)
	$(call say,compile $<)
	$(Q)cp $< $(@:.gch=)
	$(Q)$(COMPILE) -x c++-header -c -o $@ $<
	@{ echo '$(COMPILE)'; $(CXX) --version; cat $<; } | sha256sum >$@.sum

# Files of the web page are taken in by the assembler.
$(BUILD)/obj/tools/queue-inspect/serve/assets.o: $(wildcard tools/queue-inspect/serve/assets/*)

$(LIB): $(call obj,$(LIB_SRC))
	@mkdir -p $(@D)
	$(call say,archive $@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

define program
$(1): $$(call obj,$$(SRC-$(2))) $$(LIB)
	@mkdir -p $$(@D)
	$$(call say,link $$@)
	$$(Q)$$(LINK) -o $$@ $$^ $$(LDLIBS-$(2)) $$(LDLIBS-common)
endef
$(foreach t,$(TOOLS),$(eval $(call program,$(BUILD)/bin/$(t),$(t))))
$(foreach t,$(HELPERS),$(eval $(call program,$(BUILD)/libexec/gatepost/$(t),$(t))))

# Without sanitizers and the C++ library: what loads them has its own.
$(BUILD)/libexec/gatepost/lib%.so: tools/gw-listen/openssl/lib%.cpp
	@mkdir -p $(@D)
	$(call say,link $@)
	$(Q)$(CXX) -shared -fPIC -O2 -nostdlib -Wall -Wl,-z,relro,-z,now,-soname,$(@F) -Wl,--no-as-needed -o $@ $< -l$* $(LDFLAGS)

.PRECIOUS: $(BUILD)/completion/%.options
# From the tools' own tables, so that what is new in a tool is completed without a line elsewhere.
$(BUILD)/completion/%.options: $(BUILD)/bin/%
	@mkdir -p $(@D)
	$(Q)$< --dump-options >$@
$(BUILD)/completion/bash/%: $(BUILD)/completion/%.options scripts/gen-completion
	@mkdir -p $(@D)
	$(Q)scripts/gen-completion bash $* <$< >$@
$(BUILD)/completion/zsh/_%: $(BUILD)/completion/%.options scripts/gen-completion
	@mkdir -p $(@D)
	$(Q)scripts/gen-completion zsh $* <$< >$@

# So that the tools find them without an installation.
$(BUILD)/libexec/gatepost/gw-channel-%: scripts/gw-channel-%
	@mkdir -p $(@D)
	$(Q)install -m 755 $< $@

$(BUILD)/unit-tests $(TEST_PROGRAMS): LIBM = $(LIBM_SHARED)
$(BUILD)/unit-tests: $(call obj,$(UNIT_SRC) $(TOOL_SRC)) $(LIB)
	$(call say,link $@)
	$(Q)$(LINK) -o $@ $^ -lcurl -lcivetweb -lssl -lcrypto $(LDLIBS-common)

# What is fuzzed, and what of a tool that is.
MORE_SRC-fuzz := $(sort $(wildcard tests/fuzz/targets/*.cpp)) $(addprefix tools/gw-listen/,channel.cpp proxy.cpp web_client.cpp)

define test_program
$(BUILD)/test-bin/$(basename $(notdir $(1))): $(call obj,$(1) $(MORE_SRC-$(basename $(notdir $(1))))) $$(LIB)
	@mkdir -p $$(@D)
	$$(call say,link $$@)
	$$(Q)$$(LINK) -Wl,--disable-new-dtags,-rpath,'$$$$ORIGIN/../libexec/gatepost' -o $$@ $$^ -lcurl -lcivetweb $$(LDLIBS-common)
endef
$(foreach s,$(TEST_PROGRAM_SRC),$(eval $(call test_program,$(s))))

$(BUILD)/test-bin/%.so: tests/preload/%.cpp
	@mkdir -p $(@D)
	$(call say,preload $@)
	$(Q)$(CXX) -std=c++20 -O1 -Wall -Wextra -fPIC -shared -o $@ $<

-include $(ALL_OBJ:.o=.d) $(patsubst %.cpp,$(BUILD)/obj/%.d,$(TEST_PROGRAM_SRC) $(MORE_SRC-fuzz))

# --- tests ------------------------------------------------------------------------------------------------------------
# `make check T="tests/scenario/30-dedup.t"` runs only these.
T ?=
RUN_TESTS = BUILD=$(BUILD) scripts/run-tests
ASAN_TESTS = $(shell grep -ls '^\# asan: yes' tests/scenario/*.t)
# Every test builds with all processors, whether or not -j was given.
SUBMAKE = +$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS)) CXX='$(CXX)'
BUILD_TESTED = $(SUBMAKE) all unit-tests test-programs

deps: ## install the Debian packages that are missing (root or sudo)
	@scripts/install-deps check demo

check: ## all tests but the long ones (a quarter of an hour at most); T="FILE..." runs only these
	@scripts/install-deps check
ifeq ($(T),)
	@$(SUBMAKE) all test-programs
	@MAKE='$(MAKE)' CXX='$(CXX)' BUILD=$(BUILD) scripts/check-all
else
	@$(BUILD_TESTED)
	@$(RUN_TESTS) $(T)
endif

check-unit: ## unit tests
	@$(SUBMAKE) unit-tests
	@$(RUN_TESTS) tests/unit.t
check-scenario: ## scenarios over the real programs
	@$(BUILD_TESTED)
	@$(RUN_TESTS) $(sort $(wildcard tests/scenario/*.t))
check-meta: ## help, options against manual, exit codes, lint
	@$(BUILD_TESTED)
	@$(RUN_TESTS) $(sort $(wildcard tests/meta/*.t))
check-crash: ## the quick crash and fault suites
	@$(BUILD_TESTED)
	@$(RUN_TESTS) $(sort $(wildcard tests/crash/*.t tests/fault/*.t))
check-large: ## a body of 1 GiB out and in, memory watched (LARGE_MIB=1024; make check does it with 96)
	@$(BUILD_TESTED)
	@LARGE_MIB=$(or $(LARGE_MIB),1024) $(RUN_TESTS) tests/scenario/28-large.t
check-model: ## the models of the queue, with seeded errors
	@$(RUN_TESTS) $(sort $(wildcard tests/model/*.t))
check-asan: ## unit tests and chosen scenarios under AddressSanitizer and UBSan
	@$(SUBMAKE) MODE=asan BUILD=build/asan all unit-tests build/asan/test-bin/fuzz
	@$(RUN_TESTS) asan:tests/unit.t $(ASAN_TESTS:%=asan:%)
check-tsan: ## unit tests and a stress of the queue under ThreadSanitizer
	@$(SUBMAKE) MODE=tsan BUILD=build/tsan unit-tests build/tsan/test-bin/stress
	@$(RUN_TESTS) tsan:tests/unit.t tsan:tests/crash/31-stress-threads.t
check-deb: ## the Debian package: built, installed into a fresh Debian, run, removed (root, network; some minutes)
	@scripts/install-deps deb check
	@$(BUILD_TESTED)
	@$(RUN_TESTS) tests/package/10-deb.t
check-newcomer: ## clone, build and first use on a fresh Debian, as the README tells (root, network; a quarter of an hour)
	@scripts/install-deps deb
	@$(RUN_TESTS) tests/package/20-newcomer.t
check-web: ## the web page in Chromium (package chromium), with screenshots in build/release/web; skipped without it
	@$(BUILD_TESTED)
	@$(RUN_TESTS) tests/web/pages.t
lint: ## manual pages, shell scripts, layering
	@$(RUN_TESTS) tests/meta/lint.t

demo: ## headquarters and two stores on this machine, in under a minute
	@scripts/install-deps demo
	@$(SUBMAKE) all
	@BUILD=$(BUILD) scripts/demo
demo-scaleout: ## a distributor, two workers and a sender; a worker is killed in the middle of an order
	@scripts/install-deps demo
	@$(SUBMAKE) all
	@BUILD=$(BUILD) scripts/demo-scaleout
bench: ## speed against the floor of this machine
	@scripts/install-deps check
	@$(BUILD_TESTED)
	@BUILD=$(BUILD) tests/bench/run
crash: ## the long crash suite: kill -9 of everything, many times
	@scripts/install-deps check
	@$(BUILD_TESTED)
	@BUILD=$(BUILD) tests/crash/run-long
fuzz: ## libFuzzer on what comes from outside, FUZZ_SECONDS (60) for each target; skipped without clang
	@if command -v clang++ >/dev/null && [ -n "$$(find "$$(clang++ -print-resource-dir)/lib" -name 'libclang_rt.fuzzer*' 2>/dev/null)" ]; then \
	  $(MAKE) --no-print-directory MODE=fuzz BUILD=build/fuzz CXX='$(if $(findstring ccache,$(CXX)),ccache )clang++' build/fuzz/test-bin/fuzz && \
	  BUILD=build/fuzz tests/fuzz/run $(FUZZ_TARGETS); \
	else echo 'skipped: clang with libFuzzer is not installed (Debian: clang and libclang-rt-14-dev)'; fi
powerloss: ## power loss on ext4, xfs and btrfs (root, loop devices)
	@scripts/install-deps check
	@$(BUILD_TESTED)
	@BUILD=$(BUILD) tests/powerloss/run

# Assemblies of NServiceBus.Gateway; a directory beside the tree is found without being named.
INTEROP_LIB ?= $(wildcard ../shared/interop/lib)
interop: ## messages to and from the real NServiceBus.Gateway; INTEROP_LIB=DIR: its assemblies; skipped where there is none
	@scripts/install-deps check
	@$(BUILD_TESTED)
	@BUILD=$(BUILD) INTEROP_LIB='$(INTEROP_LIB)' tests/interop/run

# --- installation: what is installed is what uninstall removes -------------------------------------------------------------
INSTALLED = $(TOOLS:%=$(bindir)/%) $(HELPERS:%=$(libexecdir)/%) $(SHIMS:%=$(libexecdir)/%) $(LIBEXEC_SCRIPTS:scripts/%=$(libexecdir)/%) $(bindir)/gw-channel-file $(MAN:man/%=$(mandir)/%) $(EXAMPLES:scripts/%=$(datadir)/%) \
            $(MONITORING:scripts/monitoring/%=$(datadir)/%) $(UNITS:scripts/systemd/%=$(unitdir)/%) \
            $(PREFIX)/lib/sysusers.d/gatepost.conf $(PREFIX)/lib/tmpfiles.d/gatepost.conf \
            $(TOOLS:%=$(PREFIX)/share/bash-completion/completions/%) $(TOOLS:%=$(PREFIX)/share/zsh/site-functions/_%)
ifneq ($(DESTDIR)$(PREFIX),$(subst $() ,,$(DESTDIR)$(PREFIX)))
  ifneq ($(filter install uninstall,$(MAKECMDGOALS)),)
    $(error DESTDIR and PREFIX must not contain spaces)
  endif
endif

install: all ## into DESTDIR/PREFIX (/usr/local); the tree runs from any PREFIX
	$(Q)install -d $(sort $(addprefix $(DESTDIR),$(dir $(INSTALLED))))
	$(Q)install -m 755 $(TOOLS:%=$(BUILD)/bin/%) $(DESTDIR)$(bindir)
	$(if $(HELPERS)$(LIBEXEC_SCRIPTS),$(Q)install -m 755 $(HELPERS:%=$(BUILD)/libexec/gatepost/%) $(LIBEXEC_SCRIPTS) $(DESTDIR)$(libexecdir))
	$(Q)install -m 644 $(SHIMS:%=$(BUILD)/libexec/gatepost/%) $(DESTDIR)$(libexecdir)
	$(Q)ln -sf ../libexec/gatepost/gw-channel-file $(DESTDIR)$(bindir)/gw-channel-file
	$(foreach page,$(MAN),$(Q)install -m 644 $(page) $(DESTDIR)$(mandir)/$(page:man/%=%)$(newline))
	$(foreach file,$(EXAMPLES),$(Q)install -m $(if $(shell test -x $(file) && echo x),755,644) $(file) $(DESTDIR)$(datadir)/$(file:scripts/%=%)$(newline))
	$(Q)sed -i 's|/usr/share/gatepost/|$(datadir)/|' $(addprefix $(DESTDIR)$(datadir)/,$(patsubst scripts/%,%,$(filter %.crontab %.service,$(EXAMPLES))))
	$(if $(MONITORING),$(Q)install -m 644 $(MONITORING) $(DESTDIR)$(datadir))
	$(foreach unit,$(UNITS),$(Q)sed 's|@bindir@|$(bindir)|; s|@libexecdir@|$(libexecdir)|' $(unit) >$(DESTDIR)$(unit:scripts/systemd/%=$(unitdir)/%)$(newline)\
	$(Q)chmod 644 $(DESTDIR)$(unit:scripts/systemd/%=$(unitdir)/%)$(newline))
	$(Q)install -m 644 scripts/systemd/gatepost.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/gatepost.conf
	$(Q)install -m 644 scripts/systemd/gatepost.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/gatepost.conf
	$(Q)install -m 644 $(TOOLS:%=$(BUILD)/completion/bash/%) $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(Q)install -m 644 $(TOOLS:%=$(BUILD)/completion/zsh/_%) $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	@echo "installed $(words $(INSTALLED)) files below $(DESTDIR)$(PREFIX): commands in bin, manual (man 7 gatepost), examples in share/gatepost, units, completion"
	@echo "make uninstall PREFIX=$(PREFIX)$(if $(DESTDIR), DESTDIR=$(DESTDIR)) removes them"

deb: ## dist/gatepost_VERSION_ARCH.deb, by debhelper
	@scripts/install-deps deb
	@$(SUBMAKE) all
	@scripts/build-deb $(BUILD)

# Directories that were empty before are taken away too, but never those of the system.
OWN_DIRS = $(libexecdir) $(sort $(dir $(EXAMPLES:scripts/%=$(datadir)/%))) $(datadir) $(if $(DESTDIR)$(filter-out /usr /usr/local,$(PREFIX)),$(sort $(dir $(INSTALLED))))
uninstall: ## removes what install put there
	$(Q)rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	@for dir in $(addprefix $(DESTDIR),$(OWN_DIRS)); do \
	  if [ -d "$$dir" ]; then rmdir $(if $(DESTDIR)$(filter-out /usr /usr/local,$(PREFIX)),-p) --ignore-fail-on-non-empty "$$dir"; fi; \
	done
	@echo "removed from $(DESTDIR)$(PREFIX)"

clean: ## remove all that was built
	rm -rf build dist

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | awk -F '\t' '{ printf "  %-16s %s\n", $$1, $$2 }'
