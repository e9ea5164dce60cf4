# core.mk - the core library, embed-cli, unit tests and fuzz targets, without PostgreSQL.
#
#   make -f core.mk                        build/core: libembed_core.a, embed-cli
#   make -f core.mk unit                   unit tests
#   make -f core.mk unit SANITIZE=1        the same under address and undefined-behaviour sanitizers
#   make -f core.mk microbench             the kernels alone, against the measured peak
#   make -f core.mk fuzz FUZZ_SECONDS=600  libFuzzer targets (clang), each so long
#   make -f core.mk CC=aarch64-linux-gnu-gcc BUILD=build/arm64 lib
SANITIZE ?=
# WERROR=1 turns warnings into errors, as scripts/test does. Users may have a compiler that warns of more.
WERROR ?=
BUILD ?= build/core$(if $(SANITIZE),-san)
CFLAGS ?= -O2 -g

# Order matters: the flags that keep the bits equal come after the packager's CFLAGS.
EMBED_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" embed.control)
CORE_CPPFLAGS = -Isrc -D_GNU_SOURCE -DEMBED_CORE_VERSION='"$(EMBED_VERSION)"'
CORE_CFLAGS = -std=gnu11 -Wall -Wextra $(if $(filter-out 0,$(WERROR)),-Werror) -fPIC -fvisibility=hidden -fno-strict-aliasing
# gcc and clang contract a*b+c, intrinsics too, unless told not to.
NUMERIC_CFLAGS = -ffp-contract=off -fno-fast-math -fno-math-errno
# gcc 14 puts zmm copies of a frame that is kept for finding uses after return at addresses of 32 bytes
# and still moves them as aligned: a fault that is not ours. gcc 12 keeps no frames unless asked.
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer --param=asan-use-after-return=0
SAN_CFLAGS = $(if $(SANITIZE),$(SANITIZERS))
COMPILE = $(CC) $(CORE_CPPFLAGS) $(CPPFLAGS) $(CFLAGS) $(CORE_CFLAGS) $(SAN_CFLAGS) $(NUMERIC_CFLAGS) -MMD -MP
CORE_LIBS = -ljansson -lcrypto -lm -pthread

# reference/ is not in the core: embed-cli and unit tests have it, the server does not. It loads
# OpenBLAS when it runs; OpenMP is linked where the compiler has it, else its loops run on one thread.
REFERENCE_SRCS = $(sort $(wildcard reference/*.c))
REFERENCE_OBJS = $(REFERENCE_SRCS:%.c=$(BUILD)/%.o)
OPENMP := $(shell echo 'int main(void) { return 0; }' | $(CC) -fopenmp -x c - -o /dev/null 2>/dev/null && echo -fopenmp)
REFERENCE_LIBS = $(OPENMP) -ldl

CORE_ROOMS = common formats kernels threads tokenizer transformer image import model convert
CORE_SRCS = $(foreach room,$(CORE_ROOMS),$(sort $(wildcard src/$(room)/*.c)))
CORE_OBJS = $(CORE_SRCS:%.c=$(BUILD)/%.o)
# Every src/import/family_NAME.c is in the list that families.c has.
FAMILIES = $(patsubst src/import/family_%.c,FAMILY(%),$(sort $(wildcard src/import/family_*.c)))
LIB = $(BUILD)/libembed_core.a
CLI = $(BUILD)/embed-cli
UNIT_SRCS = $(wildcard test/unit/test_*.c)
UNIT_BINS = $(UNIT_SRCS:test/unit/%.c=$(BUILD)/unit/%)
FUZZ_SRCS = $(wildcard test/fuzz/fuzz_*.c)
FUZZ_BINS = $(FUZZ_SRCS:test/fuzz/%.c=$(BUILD)/fuzz/%)
REPLAY_BINS = $(FUZZ_SRCS:test/fuzz/%.c=$(BUILD)/replay/%)

all: lib cli
lib: $(LIB)
cli: $(CLI)

$(LIB): $(CORE_OBJS)
	rm -f $@
	$(AR) rcs $@ $^

$(CLI): $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard src/cli/*.c))) $(REFERENCE_OBJS) $(LIB)
	$(CC) $(CFLAGS) $(SAN_CFLAGS) $(LDFLAGS) -o $@ $^ $(CORE_LIBS) $(REFERENCE_LIBS)

$(REFERENCE_OBJS) $(BUILD)/src/cli/%.o: CORE_CPPFLAGS += -I.
$(REFERENCE_OBJS): CORE_CFLAGS += $(if $(OPENMP),$(OPENMP),-Wno-unknown-pragmas)

# those that have the version
$(BUILD)/src/cli/embed_cli.o $(BUILD)/src/cli/cli_report.o: embed.control

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(BUILD)/unit/%: test/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -Itest/unit -o $@ $< $(LIB) $(LDFLAGS) $(CORE_LIBS)

$(BUILD)/src/import/families.o: CORE_CPPFLAGS += '-DEMB_FAMILIES=$(FAMILIES)'
$(BUILD)/src/import/families.o: $(wildcard src/import/family_*.c)

$(BUILD)/unit/test_reference: test/unit/test_reference.c $(REFERENCE_OBJS) $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -I. -Itest/unit -o $@ $< $(REFERENCE_OBJS) $(LIB) $(LDFLAGS) $(CORE_LIBS) $(REFERENCE_LIBS)

unit-bins: $(UNIT_BINS)

# Each fuzz target with a driver that runs it over its corpus.
$(BUILD)/replay/%: test/fuzz/%.c test/fuzz/replay.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< test/fuzz/replay.c $(LIB) $(LDFLAGS) $(CORE_LIBS)

replay-bins: $(REPLAY_BINS)

# Each test prints TAP; prove sums up (scripts/test counts with a runner of its own).
TAP_RUN ?= prove --exec ''
unit: $(UNIT_BINS) $(REPLAY_BINS) $(CLI)
	EMBED_CLI=$(CLI) $(TAP_RUN) $(UNIT_BINS) $(REPLAY_BINS)

# Benchmarks of kernels; MICROBENCH_ARGS: the level.
BENCH_SRCS = $(wildcard bench/kernels*.c)
BENCH_BINS = $(BENCH_SRCS:bench/%.c=$(BUILD)/bench/%)
MICROBENCH_ARGS ?=
$(BUILD)/bench/%: bench/%.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< $(LIB) $(LDFLAGS) $(CORE_LIBS)

microbench-bins: $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*.c))

microbench: $(BENCH_BINS)
	@for program in $(BENCH_BINS); do echo "== $$program"; $$program $(MICROBENCH_ARGS) || exit 1; done

# libFuzzer. Findings stay in build/fuzz/findings/TARGET, what it learns in
# build/fuzz/corpus/TARGET; test/fuzz/corpus/TARGET is only read.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(FUZZ_SRCS:test/fuzz/%.c=%)
FUZZ_BUILD = build/fuzz
FUZZ_SAN_CFLAGS = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
fuzz:
	$(MAKE) -f core.mk CC=clang BUILD=$(FUZZ_BUILD) SAN_CFLAGS='$(FUZZ_SAN_CFLAGS)' fuzz-bins
	for target in $(FUZZ_TARGETS); do \
		mkdir -p $(FUZZ_BUILD)/corpus/$$target $(FUZZ_BUILD)/findings/$$target test/fuzz/corpus/$$target || exit 1; \
		echo "== $$target, $(FUZZ_SECONDS) s"; \
		$(FUZZ_BUILD)/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=$(FUZZ_BUILD)/findings/$$target/ \
			$(FUZZ_BUILD)/corpus/$$target test/fuzz/corpus/$$target || exit 1; \
	done

fuzz-bins: $(FUZZ_BINS)

$(BUILD)/fuzz/%: test/fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -fsanitize=fuzzer -o $@ $< $(LIB) $(LDFLAGS) $(CORE_LIBS)

-include $(CORE_OBJS:.o=.d) $(REFERENCE_OBJS:.o=.d) $(wildcard $(BUILD)/src/cli/*.d $(BUILD)/unit/*.d $(BUILD)/replay/*.d $(BUILD)/bench/*.d)

clean-core:
	rm -rf build

.PHONY: all lib cli unit unit-bins replay-bins microbench microbench-bins fuzz fuzz-bins clean-core
