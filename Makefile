# Gatepost. `make help` lists the targets; nothing here needs a compiler before the packages are installed.
MODE   ?= release
BUILD  ?= build/$(MODE)
PREFIX ?= /usr/local
CXX    ?= g++
JOBS   ?= $(shell nproc)

ifeq ($(filter $(MODE),release debug asan tsan),)
$(error MODE is '$(MODE)': expected release, debug, asan or tsan)
endif
.DELETE_ON_ERROR:
.SUFFIXES:

bindir     = $(PREFIX)/bin
libexecdir = $(PREFIX)/libexec/gatepost
mandir     = $(PREFIX)/share/man

# --- how to compile ---------------------------------------------------------------------------------------------------
WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Werror=unused-result
HARDEN   = -fstack-protector-strong -fstack-clash-protection -fcf-protection
FLAGS-release = -O2 -D_FORTIFY_SOURCE=2 $(HARDEN)
FLAGS-debug   = -Og -g -D_GLIBCXX_ASSERTIONS $(HARDEN)
FLAGS-asan    = -O1 -g -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS-tsan    = -O1 -g -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -fsanitize=thread
# One-shot commands start faster without libstdc++, sqlite and pugixml as shared objects; the sanitizers want their own.
LINK-release = -pie -static-libstdc++ -static-libgcc -Wl,--gc-sections
LINK-debug   = -pie -static-libstdc++ -static-libgcc
LINK-asan    = -fsanitize=address,undefined
LINK-tsan    = -fsanitize=thread

COMPILE = $(CXX) -std=c++20 -pthread -fPIE -ffunction-sections -fdata-sections -D_FILE_OFFSET_BITS=64 -I. -Ilibcommon \
          $(WARNINGS) $(FLAGS-$(MODE)) -MMD -MP $(CPPFLAGS) $(CXXFLAGS)
LINK    = $(CXX) -pthread $(LINK-$(MODE)) -Wl,-z,relro,-z,now -Wl,--as-needed -Wl,-O1 $(CXXFLAGS) $(LDFLAGS)
LDLIBS-common = -Wl,-Bstatic -lsqlite3 -lpugixml -Wl,-Bdynamic -lm

# --- what is there to build -------------------------------------------------------------------------------------------
LIB_SRC := $(sort $(wildcard libcommon/*.cpp libcommon/*/*.cpp))
LIB     := $(BUILD)/libgatepost.a

# A program is a directory with a main.cpp; all but gw-forward are commands for people.
MAIN_SRC := $(sort $(wildcard tools/*/main.cpp))
TOOLS    := $(patsubst tools/%/main.cpp,%,$(MAIN_SRC))
SRC-gw-forward := $(sort $(wildcard tools/gw-send/forward/*.cpp))
HELPERS  := $(if $(filter %/main.cpp,$(SRC-gw-forward)),gw-forward)
$(foreach t,$(TOOLS),$(eval SRC-$(t) := $(sort $(wildcard tools/$(t)/*.cpp))))

LDLIBS-gw-forward = -lcurl
LDLIBS-gw-listen  = -lcivetweb

PROGRAMS := $(TOOLS:%=$(BUILD)/bin/%) $(HELPERS:%=$(BUILD)/libexec/gatepost/%)
MAN      := $(sort $(wildcard man/man[1-8]/*.[1-8]))
# Channel programs and other scripts that belong into the libexec directory.
LIBEXEC_SCRIPTS := $(sort $(wildcard scripts/gw-channel-*))

UNIT_SRC := $(sort $(wildcard tests/unit/*.cpp))
# Units may test what is in a tool: everything of it but its main().
TOOL_SRC := $(filter-out %/main.cpp,$(sort $(wildcard tools/*/*.cpp tools/gw-send/forward/*.cpp)))
obj = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(1))
ALL_OBJ  := $(call obj,$(LIB_SRC) $(MAIN_SRC) $(TOOL_SRC) $(UNIT_SRC) $(SRC-gw-forward))
# Programs that only tests use: tests/<area>/<name>.cpp becomes $(BUILD)/test-bin/<name>.
TEST_PROGRAM_SRC := $(sort $(filter-out tests/unit/%,$(wildcard tests/*/*.cpp)))
TEST_PROGRAMS    := $(foreach s,$(TEST_PROGRAM_SRC),$(BUILD)/test-bin/$(basename $(notdir $(s))))

.PHONY: all unit-tests test-programs deps help clean install uninstall lint demo bench crash powerloss \
        check check-unit check-scenario check-meta check-crash check-model check-asan check-tsan
all: $(PROGRAMS) ## build every tool (MODE=release|debug|asan|tsan, CXX, CXXFLAGS, CPPFLAGS, LDFLAGS)
unit-tests: $(BUILD)/unit-tests
test-programs: $(TEST_PROGRAMS)

$(BUILD)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(LIB): $(call obj,$(LIB_SRC))
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

define program
$(1): $$(call obj,$$(SRC-$(2))) $$(LIB)
	@mkdir -p $$(@D)
	$$(LINK) -o $$@ $$^ $$(LDLIBS-common) $$(LDLIBS-$(2))
endef
$(foreach t,$(TOOLS),$(eval $(call program,$(BUILD)/bin/$(t),$(t))))
$(foreach t,$(HELPERS),$(eval $(call program,$(BUILD)/libexec/gatepost/$(t),$(t))))

$(BUILD)/unit-tests: $(call obj,$(UNIT_SRC) $(TOOL_SRC)) $(LIB)
	$(LINK) -o $@ $^ $(LDLIBS-common) -lcurl -lcivetweb

define test_program
$(BUILD)/test-bin/$(basename $(notdir $(1))): $(call obj,$(1)) $$(LIB)
	@mkdir -p $$(@D)
	$$(LINK) -o $$@ $$^ $$(LDLIBS-common) -lcurl -lcivetweb
endef
$(foreach s,$(TEST_PROGRAM_SRC),$(eval $(call test_program,$(s))))

-include $(ALL_OBJ:.o=.d) $(patsubst %.cpp,$(BUILD)/obj/%.d,$(TEST_PROGRAM_SRC))
