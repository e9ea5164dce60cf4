# embed - PostgreSQL extension; see "make help".
EXTENSION = embed embed_pgvector
MODULE_big = embed
version_of = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(1).control)
EXTVERSION := $(call version_of,embed)
ifneq ($(call version_of,embed_pgvector),$(EXTVERSION))
$(error embed_pgvector.control has another default_version than embed.control)
endif

# One line per room, in the direction data flows. Sorted, so that the same tree gives the same file.
room = $(patsubst %.c,%.o,$(sort $(wildcard src/$(1)/*.c)))
PG_OBJS = $(call room,pg) $(call room,pg/sql) $(call room,pg/auto) $(call room,pg/ahead) $(call room,pg/kept) $(call room,pg/call) $(call room,pg/store) $(call room,pg/stat)
CONVERT_OBJS = $(call room,convert)
MODEL_OBJS = $(call room,model)
IMPORT_OBJS = $(call room,import)
IMAGE_OBJS = $(call room,image)
TRANSFORMER_OBJS = $(call room,transformer)
THREADS_OBJS = $(call room,threads)
KERNEL_OBJS = $(call room,kernels)
TOKENIZER_OBJS = $(call room,tokenizer)
FORMAT_OBJS = $(call room,formats)
COMMON_OBJS = $(call room,common)
CORE_OBJS = $(CONVERT_OBJS) $(MODEL_OBJS) $(IMPORT_OBJS) $(IMAGE_OBJS) $(TRANSFORMER_OBJS) $(THREADS_OBJS) $(KERNEL_OBJS) \
	$(TOKENIZER_OBJS) $(FORMAT_OBJS) $(COMMON_OBJS)
OBJS = $(PG_OBJS) $(CORE_OBJS)

# Every src/import/family_NAME.c is in the list that families.c has.
FAMILIES = $(patsubst src/import/family_%.c,FAMILY(%),$(sort $(wildcard src/import/family_*.c)))

DATA_built = sql/embed--$(EXTVERSION).sql sql/embed_pgvector--$(EXTVERSION).sql
DATA = $(filter-out $(DATA_built),$(wildcard sql/embed--*--*.sql sql/embed_pgvector--*--*.sql))
# Those whose models are here: an archive of "make dist" has four models of test/data/tiny.
REGRESS = $(shell sh scripts/regress-tests)
REGRESS_OPTS = --inputdir=test
EXTRA_CLEAN = build results

PG_CPPFLAGS = -Isrc -D_GNU_SOURCE -DEMBED_CORE_VERSION='"$(EXTVERSION)"'
# hidden: two libraries in one backend must not see each other's symbols
# -Wno-unused-parameter: the server's own headers
# WERROR=1 turns warnings into errors, as scripts/test does
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-declaration-after-statement -fvisibility=hidden \
	$(if $(filter-out 0,$(WERROR)),-Werror)
SHLIB_LINK = -ljansson -lcrypto -lm

# clang would compile the kernels again with other flags, and other bits
override with_llvm = no
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
include scripts/install.mk
else
include scripts/no-server.mk
endif

# After the packager's CFLAGS: gcc and clang contract a*b+c, intrinsics too,
# unless told not to, and every ISA level must compute the same bits.
override CFLAGS += -ffp-contract=off -fno-fast-math -fno-math-errno

$(DATA_built): sql/%--$(EXTVERSION).sql: sql/%.sql
	cp $< $@

src/import/families.o: override CPPFLAGS += '-DEMB_FAMILIES=$(FAMILIES)'
src/import/families.o: $(wildcard src/import/family_*.c)

ALL_HEADERS = $(wildcard src/*/*.h src/pg/*/*.h src/kernels/*.def)
$(OBJS): $(ALL_HEADERS) embed.control

help:
	@echo 'make [PG_CONFIG=...]        the extension'
	@echo 'make install                into the server of PG_CONFIG, with embed-cli (bindir=..), its man page, documents'
	@echo 'make uninstall              all of these again'
	@echo 'make cli                    build/core/embed-cli'
	@echo 'make unit                   unit tests under sanitizers, no server'
	@echo 'make installcheck           SQL regression tests on a running server'
	@echo 'make test                   everything, on a throwaway server'
	@echo 'make quality                what int8 costs in retrieval and reranking (EMBED_MODELS, EMBED_SHARED)'
	@echo 'make dist                   build/dist/embed-VERSION.zip and .tar.gz of the tag vVERSION'
	@echo 'make check-release          whether versions and addresses of META.json, debian/ and CHANGELOG.md agree'
	@echo 'make demo                   builds, installs, imports a model, shows the main job'
	@echo 'make fuzz                   libFuzzer targets (clang)'
	@echo 'make bench                  beside OpenVINO, ONNX Runtime, torch, llama.cpp on the same weights; publishes'
	@echo 'make bench-quick            the same in under 5 minutes, with the first two'
	@echo 'make profile                where the time goes (perf)'
	@echo 'make microbench             the kernels alone'
	@echo 'make bench-memory           what backends cost in memory, and their first call'
	@echo 'make bench-pressure         threads with limits, quotas and neighbours'
	@echo 'make bench-busy             many sessions at once on few CPUs'
	@echo 'make bench-rerank           a decoder that reranks: statements, memory, what a shared prefix saves'
	@echo 'make check-layers           which room includes which, and whether the map is complete'
	@echo 'make check-examples         whether the usage examples of headers compile'

cli:
	$(MAKE) -f core.mk cli
unit:
	$(MAKE) -f core.mk unit SANITIZE=1
fuzz:
	$(MAKE) -f core.mk fuzz
check-layers:
	sh scripts/check-layers
check-examples:
	PG_CONFIG=$(PG_CONFIG) sh scripts/check-examples
check-release:
	scripts/check-release
dist:
	scripts/dist
test:
	scripts/test
quality:
	scripts/test quality
demo:
	scripts/demo
bench:
	bench/run --out bench.json
	bench/run --publish bench.json
bench-quick:
	bench/run --quick
profile:
	bench/profile

microbench:
	$(MAKE) -f core.mk microbench

bench-memory:
	bench/backend_memory
bench-pressure:
	bench/threads_under_pressure
bench-busy:
	bench/busy_backends
bench-rerank:
	bench/rerank

.PHONY: help cli unit fuzz check-layers check-examples check-release dist test quality demo bench bench-quick profile microbench bench-memory bench-pressure bench-busy bench-rerank
