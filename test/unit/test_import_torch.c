/*
 * test_import_torch.c
 *		Weights as torch.save writes them: the same image as from safetensors;
 *		pickles that ask for more, zips that lie.
 */
#include "model_util.h"

#include "formats/tensors.h"

#define BYTES(s) (s), sizeof(s) - 1

/* ------------------------------------------------------ a zip in memory */

typedef struct Member
{
	const char *name;
	const char *data;
	size_t		size;
} Member;

static uint8_t zip[1 << 16];
static size_t zip_size;

/* Little endian; 0 may have any number of bytes. */
static void
put(uint64_t value, int n_bytes)
{
	for (int i = 0; i < n_bytes; i++, value >>= 8)
		zip[zip_size++] = (uint8_t) value;
}

static void
put_bytes(const void *data, size_t size)
{
	memcpy(zip + zip_size, data, size);
	zip_size += size;
}

/* What local header and directory entry have in common, from "version needed" on. */
static void
put_description(const Member *m, int method)
{
	put(20, 2);
	put(0, 2);
	put(method, 2);
	put(0, 4 + 4);				/* time, checksum */
	put(m->size, 4);
	put(m->size, 4);
	put(strlen(m->name), 2);
	put(0, 2);
}

/* Writes n members; method is the first one's. */
static void
make_zip(const Member *members, int n, int method)
{
	size_t		offsets[8];
	size_t		directory;

	zip_size = 0;
	for (int i = 0; i < n; i++)
	{
		offsets[i] = zip_size;
		put_bytes("PK\3\4", 4);
		put_description(&members[i], i == 0 ? method : 0);
		put_bytes(members[i].name, strlen(members[i].name));
		put_bytes(members[i].data, members[i].size);
	}
	directory = zip_size;
	for (int i = 0; i < n; i++)
	{
		put_bytes("PK\1\2", 4);
		put(20, 2);
		put_description(&members[i], i == 0 ? method : 0);
		put(0, 2 + 2 + 2 + 4);
		put(offsets[i], 4);
		put_bytes(members[i].name, strlen(members[i].name));
	}
	put_bytes("PK\5\6", 4);
	put(0, 4);
	put(n, 2);
	put(n, 2);
	put(zip_size - directory - 12, 4);
	put(directory, 4);
	put(0, 2);
}

static EmbStatus
open_bytes(const void *data, size_t size, EmbError *err)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbTensorSet set = {0};
	const char *dir = fresh_dir();
	EmbStatus	status;

	memset(err, 0, sizeof(*err));
	write_file(dir, "pytorch_model.bin", data, size);
	status = emb_tensors_open_dir(dir, &mem, NULL, &set, err);
	if (status == EMB_OK)
		emb_tensors_close(&set);
	CHECKF(count.n_live == 0, "%ld blocks leaked", count.n_live);
	return status;
}

/* --------------------------------------------------------- same image */

static void
test_same_image(const char *layout, const char *const *files)
{
	static const char *const others[] = {
		"config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json"
	};
	EmbAllocator mem = emb_malloc_allocator();
	EmbImportOptions options = {.precision = "fp32"};
	const char *dir = fresh_dir();
	char		path[PATH_MAX];
	Image		expected;
	Image		image;
	EmbError	err;

	snprintf(path, sizeof(path), "%s/1_Pooling", dir);
	mkdir(path, 0700);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
	{
		snprintf(path, sizeof(path), "ln -s $PWD/%s/tiny/bert-mean-36/model/%s %s/%s", data_dir(), others[i], dir, others[i]);
		CHECK(system(path) == 0);
	}
	for (; *files != NULL; files++)
	{
		snprintf(path, sizeof(path), "ln -s $PWD/%s/torch/%s/%s %s", data_dir(), layout, *files, dir);
		CHECK(system(path) == 0);
	}
	snprintf(path, sizeof(path), "%s/tiny/bert-mean-36/model", data_dir());
	CHECK(import_image(path, &options, &mem, &expected, &err) == EMB_OK);
	CHECKF(import_image(dir, &options, &mem, &image, &err) == EMB_OK, "%s: %s", layout, err.message);
	CHECKF(image.size_bytes == expected.size_bytes && memcmp(image.data, expected.data, image.size_bytes) == 0,
		   "%s: another image", layout);
	free(expected.data);
	free(image.data);
}

/* ------------------------------------------------------------ pickles */

#define START "\x80\x02}(X\1\0\0\0w"		/* {"w": */
#define STORAGE(key, n) "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" key "X\3\0\0\0cpuK" n "tQ"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define END "\x89}tRu."
/* {key: {"": a tensor}}: an error only where the inner dictionary is read */
#define NESTED(key_size, key) "\x80\x02}(X" key_size "\0\0\0" key "}(X\0\0\0\0" REBUILD STORAGE("0", "\x02") "K\0K\x02\x85K\x01\x85\x89}tRuu."

typedef struct PickleCase
{
	const char *what;
	const char *pickle;
	size_t		size;
	EmbStatus	status;
	const char *message;
} PickleCase;

static const PickleCase pickles[] = {
	{"a tensor", BYTES(START REBUILD STORAGE("0", "\x02") "K\0K\x02\x85K\x01\x85" END), EMB_OK, NULL},
	{"second half", BYTES(START REBUILD STORAGE("0", "\x02") "K\x01K\x01\x85K\x01\x85" END), EMB_OK, NULL},
	{"other values are left out", BYTES("\x80\x02}(X\1\0\0\0eK\x05X\1\0\0\0f]X\1\0\0\0gNu."), EMB_OK, NULL},
	{"a call to the system", BYTES("\x80\x02" "cposix\nsystem\nX\4\0\0\0true\x85R."), EMB_ERR_UNSUPPORTED, "posix.system"},
	{"builtins", BYTES("\x80\x02" "c__builtin__\neval\nX\1\0\0\0" "1\x85R."), EMB_ERR_UNSUPPORTED, "__builtin__.eval"},
	{"a name like an allowed one", BYTES("\x80\x02" "ctorch._utils\n_rebuild_tensor_v3\n."), EMB_ERR_UNSUPPORTED, "_rebuild_tensor_v3"},
	{"by STACK_GLOBAL", BYTES("\x80\x04\x8c\5posix\x8c\6system\x93."), EMB_ERR_UNSUPPORTED, "posix.system"},
	{"bytes that are no name", BYTES("\x80\x02" "c\xFF\1\n\xFE\n."), EMB_ERR_UNSUPPORTED, "??.?"},
	{"INST", BYTES("\x80\x02(iposix\nsystem\n."), EMB_ERR_UNSUPPORTED, "0x69"},
	{"OBJ", BYTES("\x80\x02(o."), EMB_ERR_UNSUPPORTED, "0x6F"},
	{"NEWOBJ", BYTES("\x80\x02))\x81."), EMB_ERR_UNSUPPORTED, "0x81"},
	{"EXT1", BYTES("\x80\x02\x82\1."), EMB_ERR_UNSUPPORTED, "0x82"},
	{"BUILD of a tuple", BYTES("\x80\x02)}b."), EMB_ERR_UNSUPPORTED, "attributes"},
	{"protocol 0", BYTES("\x80\0}."), EMB_ERR_FORMAT, "protocol"},
	{"no end", BYTES("\x80\x02}"), EMB_ERR_FORMAT, "too early"},
	{"nothing", BYTES("."), EMB_ERR_FORMAT, "empty"},
	{"no dictionary", BYTES("\x80\x02K\1."), EMB_ERR_FORMAT, "no dictionary"},
	{"text beyond the end", BYTES("\x80\x02X\xFF\xFF\xFF\xFF" "abc"), EMB_ERR_FORMAT, "too early"},
	{"SETITEMS without a mark", BYTES("\x80\x02}u."), EMB_ERR_FORMAT, "mark"},
	{"SETITEMS below the stack", BYTES("\x80\x02(u."), EMB_ERR_FORMAT, "container"},
	{"odd pairs", BYTES("\x80\x02}(K\1u."), EMB_ERR_FORMAT, "container"},
	{"TUPLE3 over a mark", BYTES("\x80\x02K\1(K\2K\3\x87."), EMB_ERR_FORMAT, "empty"},
	{"append to a dictionary", BYTES("\x80\x02}K\1a."), EMB_ERR_FORMAT, "container"},
	{"memo never written", BYTES("\x80\x02h\0."), EMB_ERR_FORMAT, "memo"},
	{"memo far away", BYTES("\x80\x02}r\xFF\xFF\xFF\x7F."), EMB_ERR_FORMAT, "gaps"},
	{"call of a number", BYTES("\x80\x02K\1)R."), EMB_ERR_FORMAT, "function"},
	{"a number as reference", BYTES("\x80\x02K\1Q."), EMB_ERR_FORMAT, "storage"},
	{"a short tuple as reference", BYTES("\x80\x02K\1\x85Q."), EMB_ERR_FORMAT, "storage"},
	{"a tensor of nothing", BYTES(START REBUILD ")Ru."), EMB_ERR_FORMAT, "storage"},
	{"beyond the storage", BYTES(START REBUILD STORAGE("0", "\x02") "K\1K\x02\x85K\x01\x85" END), EMB_ERR_FORMAT, "beyond"},
	{"shape overflows", BYTES(START REBUILD STORAGE("0", "\x02") "K\0\x8a\x08\0\0\0\0\0\0\0\x40K\x08\x86K\x01K\x01\x86" END), EMB_ERR_FORMAT, "overflows"},
	{"negative dimension", BYTES(START REBUILD STORAGE("0", "\x02") "K\0J\xFF\xFF\xFF\xFF\x85K\x01\x85" END), EMB_ERR_FORMAT, "count"},
	{"transposed", BYTES(START REBUILD STORAGE("0", "\x02") "K\0K\x01K\x02\x86K\x01K\x05\x86" END), EMB_ERR_UNSUPPORTED, "strided"},
	{"fewer strides", BYTES(START REBUILD STORAGE("0", "\x02") "K\0K\x02\x85)" END), EMB_ERR_FORMAT, "strides"},
	{"no such storage", BYTES(START REBUILD STORAGE("1", "\x02") "K\0K\x02\x85K\x01\x85" END), EMB_ERR_FORMAT, "storage \"1\""},
	{"a storage too short", BYTES(START REBUILD STORAGE("0", "\x03") "K\0K\x02\x85K\x01\x85" END), EMB_ERR_FORMAT, "has 8 bytes"},
	{"tensors under \"state_dict\"", BYTES(NESTED("\x0A", "state_dict")), EMB_ERR_FORMAT, "name"},
	{"tensors under \"model\"", BYTES(NESTED("\5", "model")), EMB_ERR_FORMAT, "name"},
	{"under another name they are left out", BYTES(NESTED("\5", "optim")), EMB_OK, NULL},
	{"an empty name", BYTES("\x80\x02}(X\0\0\0\0" REBUILD STORAGE("0", "\x02") "K\0K\x02\x85K\x01\x85" END), EMB_ERR_FORMAT, "name"},
};

static void
test_pickles(void)
{
	for (size_t i = 0; i < sizeof(pickles) / sizeof(pickles[0]); i++)
	{
		const PickleCase *c = &pickles[i];
		Member		members[] = {{"a/data.pkl", c->pickle, c->size}, {"a/data/0", "12345678", 8}};
		EmbError	err;
		EmbStatus	status;

		make_zip(members, 2, 0);
		status = open_bytes(zip, zip_size, &err);
		CHECKF(status == c->status && (c->message == NULL || strstr(err.message, c->message) != NULL),
			   "%s: status %d, \"%s\"", c->what, status, err.message);
	}
}

/* --------------------------------------------------------------- zips */

static void
test_zips(void)
{
	Member		members[] = {
		{"a/data.pkl", BYTES(START REBUILD STORAGE("0", "\x02") "K\0K\x02\x85K\x01\x85" END)},
		{"a/data/0", "12345678", 8}, {"a/byteorder", "little", 6}
	};
	EmbError	err;

	make_zip(members, 3, 0);
	CHECK(open_bytes(zip, zip_size, &err) == EMB_OK);
	/* cut anywhere */
	for (size_t size = 0; size < zip_size; size++)
	{
		EmbStatus	status = open_bytes(zip, size, &err);

		CHECKF(status == EMB_ERR_FORMAT, "%zu bytes: status %d, \"%s\"", size, status, err.message);
	}
	members[2].data = "big";
	members[2].size = 3;
	make_zip(members, 3, 0);
	CHECK(open_bytes(zip, zip_size, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "byte order") != NULL);
	make_zip(members, 2, 8);
	CHECK(open_bytes(zip, zip_size, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "compressed") != NULL);
	make_zip(members + 1, 1, 0);
	CHECK(open_bytes(zip, zip_size, &err) == EMB_ERR_FORMAT && strstr(err.message, "data.pkl") != NULL);
	CHECK(open_bytes(BYTES("\x80\x02}."), &err) == EMB_ERR_FORMAT && strstr(err.message, "torch.save") != NULL);
}

/* Every byte of the directory turned around: an error or not, but no harm. */
static void
test_damaged_directory(void)
{
	Member		members[] = {
		{"a/data.pkl", BYTES(START REBUILD STORAGE("0", "\x02") "K\0K\x02\x85K\x01\x85" END)}, {"a/data/0", "12345678", 8}
	};
	EmbError	err;

	make_zip(members, 2, 0);
	for (size_t i = 0; i < zip_size; i++)
	{
		EmbStatus	status;

		zip[i] ^= 0xFF;
		status = open_bytes(zip, zip_size, &err);
		CHECKF(status == EMB_OK || err.message[0] != '\0', "byte %zu", i);
		zip[i] ^= 0xFF;
	}
}

int
main(void)
{
	static const char *const one[] = {"pytorch_model.bin", NULL};
	static const char *const shards[] = {
		"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json", NULL
	};

	test_same_image(".", one);
	test_same_image("old", one);
	test_same_image("sharded", shards);
	test_pickles();
	test_zips();
	test_damaged_directory();
	return done_testing();
}
