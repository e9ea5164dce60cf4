# core.mk - the core library, embed-cli, unit tests and fuzz targets, without PostgreSQL.
#
#   make -f core.mk                        build/core: libembed_core.a, embed-cli
#   make -f core.mk unit                   unit tests
#   make -f core.mk unit SANITIZE=1        the same under address and undefined-behaviour sanitizers
#   make -f core.mk fuzz                   libFuzzer targets (clang)
#   make -f core.mk CC=aarch64-linux-gnu-gcc BUILD=build/arm64 lib
SANITIZE ?=
BUILD ?= build/core$(if $(SANITIZE),-san)
CFLAGS ?= -O2 -g

# Order matters: what keeps the bits equal stands behind the packager's CFLAGS.
CORE_CPPFLAGS = -Isrc -D_GNU_SOURCE
CORE_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -fno-strict-aliasing
# gcc and clang contract a*b+c, intrinsics too, unless told not to.
NUMERIC_CFLAGS = -ffp-contract=off -fno-fast-math -fno-math-errno
SAN_CFLAGS = $(if $(SANITIZE),-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
COMPILE = $(CC) $(CORE_CPPFLAGS) $(CPPFLAGS) $(CFLAGS) $(CORE_CFLAGS) $(SAN_CFLAGS) $(NUMERIC_CFLAGS) -MMD -MP
CORE_LIBS = -ljansson -lcrypto -lm -pthread

CORE_SRCS = $(wildcard src/common/*.c) \
	$(wildcard src/kernels/*.c) \
	$(wildcard src/encoder/*.c) \
	$(wildcard src/tokenizer/*.c) \
	$(wildcard src/import/*.c) \
	$(wildcard src/model/*.c)
CORE_OBJS = $(CORE_SRCS:%.c=$(BUILD)/%.o)
LIB = $(BUILD)/libembed_core.a
CLI = $(BUILD)/embed-cli
UNIT_SRCS = $(wildcard test/unit/test_*.c)
UNIT_BINS = $(UNIT_SRCS:test/unit/%.c=$(BUILD)/unit/%)

all: lib cli
lib: $(LIB)
cli: $(CLI)

$(LIB): $(CORE_OBJS)
	rm -f $@
	$(AR) rcs $@ $^

$(CLI): $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/cli/*.c)) $(LIB)
	$(CC) $(CFLAGS) $(SAN_CFLAGS) $(LDFLAGS) -o $@ $^ $(CORE_LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(BUILD)/unit/%: test/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -Itest/unit -o $@ $< $(LIB) $(LDFLAGS) $(CORE_LIBS)

unit-bins: $(UNIT_BINS)

# Each test prints TAP; prove sums up.
unit: $(UNIT_BINS) $(CLI)
	EMBED_CLI=$(CLI) prove --exec '' $(UNIT_BINS)

-include $(CORE_OBJS:.o=.d) $(wildcard $(BUILD)/src/cli/*.d $(BUILD)/unit/*.d)

clean-core:
	rm -rf build

.PHONY: all lib cli unit unit-bins clean-core
