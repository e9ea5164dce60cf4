/*
 * test_import_safetensors.c
 *		Headers that lie, shards that escape, values that are converted.
 */
#include "model_util.h"

#include <math.h>

#include "formats/tensors.h"

#define T(name, dtype, shape, begin, end) \
	"\"" name "\": {\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": [" #begin ", " #end "]}"

typedef struct Case
{
	const char *what;
	const char *header;
	size_t		data_bytes;
	EmbStatus	status;
	const char *message;		/* part of the error message */
} Case;

static const Case cases[] = {
	{"one tensor", "{" T("a", "F32", "[2, 3]", 0, 24) "}", 24, EMB_OK, NULL},
	{"metadata and blanks", "{\"__metadata__\": {\"format\": \"pt\"}, " T("a", "F16", "[1]", 0, 2) "}   ", 2, EMB_OK, NULL},
	{"a scalar and an empty one", "{" T("a", "F32", "[]", 0, 4) ", " T("b", "I64", "[0, 5]", 4, 4) "}", 4, EMB_OK, NULL},
	{"no tensor", "{}", 0, EMB_OK, NULL},
	{"not an object", "[1, 2]", 0, EMB_ERR_FORMAT, "not a JSON object"},
	{"a blank first", " {}", 0, EMB_ERR_FORMAT, "not a JSON object"},
	{"empty header", "", 0, EMB_ERR_FORMAT, "not a JSON object"},
	{"cut JSON", "{\"a\": {\"dtype\": ", 0, EMB_ERR_FORMAT, "not valid JSON"},
	{"bytes behind the JSON", "{} x", 0, EMB_ERR_FORMAT, "not valid JSON"},
	{"duplicate name", "{" T("a", "F32", "[1]", 0, 4) ", " T("a", "F32", "[1]", 4, 8) "}", 8, EMB_ERR_FORMAT, "a"},
	{"not UTF-8", "{\"\xFF\": 1}", 0, EMB_ERR_FORMAT, "not valid JSON"},
	{"entry not an object", "{\"culprit\": 5}", 0, EMB_ERR_FORMAT, "culprit"},
	{"no dtype", "{\"culprit\": {\"shape\": [1], \"data_offsets\": [0, 4]}}", 4, EMB_ERR_FORMAT, "culprit"},
	{"unknown dtype", "{" T("culprit", "F31", "[1]", 0, 4) "}", 4, EMB_ERR_UNSUPPORTED, "F31"},
	{"no shape", "{\"culprit\": {\"dtype\": \"F32\", \"data_offsets\": [0, 4]}}", 4, EMB_ERR_FORMAT, "culprit"},
	{"negative dimension", "{" T("culprit", "F32", "[-1]", 0, 4) "}", 4, EMB_ERR_FORMAT, "culprit"},
	{"fractional dimension", "{" T("culprit", "F32", "[1.0]", 0, 4) "}", 4, EMB_ERR_FORMAT, "culprit"},
	{"nine dimensions", "{" T("culprit", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) "}", 4, EMB_ERR_UNSUPPORTED, "culprit"},
	{"shape overflows", "{" T("culprit", "F32", "[4294967296, 4294967296]", 0, 4) "}", 4, EMB_ERR_FORMAT, "overflows"},
	{"bytes overflow", "{" T("culprit", "F32", "[4611686018427387904]", 0, 4) "}", 4, EMB_ERR_FORMAT, "overflows"},
	{"integer beyond 64 bits", "{" T("culprit", "F32", "[100000000000000000000]", 0, 4) "}", 4, EMB_ERR_FORMAT, "culprit"},
	{"no offsets", "{\"culprit\": {\"dtype\": \"F32\", \"shape\": [1]}}", 4, EMB_ERR_FORMAT, "data_offsets"},
	{"three offsets", "{\"culprit\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4, 4]}}", 4, EMB_ERR_FORMAT, "data_offsets"},
	{"offsets beyond the data", "{" T("culprit", "F32", "[2]", 0, 8) "}", 4, EMB_ERR_FORMAT, "outside"},
	{"negative offset", "{" T("culprit", "F32", "[1]", -4, 0) "}", 4, EMB_ERR_FORMAT, "outside"},
	{"offsets backwards", "{" T("culprit", "F32", "[1]", 4, 0) "}", 4, EMB_ERR_FORMAT, "outside"},
	{"too many bytes for the shape", "{" T("culprit", "F32", "[1]", 0, 8) "}", 8, EMB_ERR_FORMAT, "needs 4"},
	{"too few bytes for the dtype", "{" T("culprit", "F64", "[1]", 0, 4) "}", 4, EMB_ERR_FORMAT, "needs 8"},
	{"overlap", "{" T("a", "F32", "[2]", 0, 8) ", " T("culprit", "F32", "[2]", 4, 12) "}", 12, EMB_ERR_FORMAT, "overlaps"},
	{"same bytes twice", "{" T("a", "F32", "[1]", 0, 4) ", " T("b", "F32", "[1]", 0, 4) "}", 4, EMB_ERR_FORMAT, "overlaps"},
	{"hole", "{" T("a", "F32", "[1]", 0, 4) ", " T("culprit", "F32", "[1]", 8, 12) "}", 12, EMB_ERR_FORMAT, "culprit"},
	{"hole at the front", "{" T("culprit", "F32", "[1]", 4, 8) "}", 8, EMB_ERR_FORMAT, "culprit"},
	{"bytes at the end", "{" T("a", "F32", "[1]", 0, 4) "}", 5, EMB_ERR_FORMAT, "belong to no tensor"},
};

static EmbStatus
open_one(const char *dir, EmbError *err)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbTensorSet set = {0};
	EmbStatus	status;

	memset(err, 0, sizeof(*err));
	status = emb_tensors_open_file(dir, "model.safetensors", &mem, NULL, &set, err);
	if (status == EMB_OK)
		emb_tensors_close(&set);
	CHECKF(count.n_live == 0, "%ld blocks leaked", count.n_live);
	return status;
}

static void
test_headers(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];
		const char *dir = fresh_dir();
		EmbError	err;
		EmbStatus	status;

		write_safetensors(dir, "model.safetensors", c->header, NULL, c->data_bytes);
		status = open_one(dir, &err);
		CHECKF(status == c->status && (c->message == NULL || strstr(err.message, c->message) != NULL),
			   "%s: status %d, \"%s\"", c->what, status, err.message);
	}
}

static void
test_lengths(void)
{
	static const struct
	{
		const char *what;
		uint8_t		bytes[16];
		size_t		n;
		EmbStatus	status;
	}			files[] =
	{
		{"empty", {0}, 0, EMB_ERR_FORMAT},
		{"seven bytes", {2, 0, 0, 0, 0, 0, 0}, 7, EMB_ERR_FORMAT},
		{"header of 0 bytes", {0}, 8, EMB_ERR_FORMAT},
		{"length beyond the file", {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, EMB_ERR_FORMAT},
		{"length of all ones", {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'}, 10, EMB_ERR_FORMAT},
		{"length of the sign bit", {0, 0, 0, 0, 0, 0, 0, 128, '{', '}'}, 10, EMB_ERR_FORMAT},
		{"just right", {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, EMB_OK},
	};
	EmbError	err;
	char		path[PATH_MAX];
	int			fd;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		const char *dir = fresh_dir();
		EmbStatus	status;

		write_file(dir, "model.safetensors", files[i].bytes, files[i].n);
		status = open_one(dir, &err);
		CHECKF(status == files[i].status, "%s: status %d, \"%s\"", files[i].what, status, err.message);
	}

	/* a sparse file whose header says 100 MB: refused before anything is allocated for it */
	snprintf(path, sizeof(path), "%s/model.safetensors", fresh_dir());
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	if (fd < 0 || write(fd, "\0\0\0\006\0\0\0\0{", 9) != 9 || ftruncate(fd, 200 << 20) != 0)
		abort();
	close(fd);
	CHECK(open_one(temp_root, &err) == EMB_ERR_LIMIT && strstr(err.message, "model.safetensors") != NULL);
}

static void
test_special_files(void)
{
	char		path[PATH_MAX];
	EmbError	err;

	snprintf(path, sizeof(path), "%s/model.safetensors", fresh_dir());
	mkfifo(path, 0600);
	CHECK(open_one(temp_root, &err) == EMB_ERR_NOT_REGULAR && strstr(err.message, "model.safetensors") != NULL);
	snprintf(path, sizeof(path), "%s/model.safetensors", fresh_dir());
	mkdir(path, 0700);
	CHECK(open_one(temp_root, &err) == EMB_ERR_NOT_REGULAR);
	snprintf(path, sizeof(path), "%s/model.safetensors", fresh_dir());
	if (symlink("/dev/zero", path) != 0)
		abort();
	CHECK(open_one(temp_root, &err) == EMB_ERR_NOT_REGULAR);
	snprintf(path, sizeof(path), "%s/model.safetensors", fresh_dir());
	if (symlink("model.safetensors", path) != 0)
		abort();
	CHECK(open_one(temp_root, &err) != EMB_OK);
	fresh_dir();
	CHECK(open_one(temp_root, &err) == EMB_ERR_NOT_FOUND);
}

/* ----------------------------------------------------------------- shards */

static EmbStatus
open_dir(const char *dir, const char *find, bool *found, EmbError *err)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbTensorSet set = {0};
	EmbStatus	status;

	memset(err, 0, sizeof(*err));
	status = emb_tensors_open_dir(dir, &mem, NULL, &set, err);
	if (status == EMB_OK)
	{
		*found = emb_tensors_find(&set, find) != NULL;
		emb_tensors_close(&set);
	}
	CHECKF(count.n_live == 0, "%ld blocks leaked", count.n_live);
	return status;
}

static const struct
{
	const char *what;
	const char *index;
	EmbStatus	status;
	const char *message;
}			shard_cases[] =
{
	{"two shards", "{\"weight_map\": {\"x\": \"a.safetensors\", \"y\": \"b.safetensors\"}}", EMB_OK, NULL},
	{"no weight_map", "{}", EMB_ERR_FORMAT, "weight_map"},
	{"weight_map is a list", "{\"weight_map\": []}", EMB_ERR_FORMAT, "weight_map"},
	{"not JSON", "weight_map", EMB_ERR_FORMAT, "index.json"},
	{"missing shard", "{\"weight_map\": {\"x\": \"c.safetensors\"}}", EMB_ERR_NOT_FOUND, "c.safetensors"},
	{"tensor elsewhere", "{\"weight_map\": {\"y\": \"a.safetensors\", \"x\": \"b.safetensors\"}}", EMB_OK, NULL},
	{"tensor not in the map", "{\"weight_map\": {\"x\": \"a.safetensors\"}}", EMB_OK, NULL},
	{"file is a number", "{\"weight_map\": {\"x\": 5}}", EMB_ERR_FORMAT, "x"},
	{"parent directory", "{\"weight_map\": {\"x\": \"../a.safetensors\"}}", EMB_ERR_FORMAT, "../a"},
	{"absolute path", "{\"weight_map\": {\"x\": \"/etc/passwd\"}}", EMB_ERR_FORMAT, "/etc/passwd"},
	{"dot dot", "{\"weight_map\": {\"x\": \"..\"}}", EMB_ERR_FORMAT, ".."},
	{"empty name", "{\"weight_map\": {\"x\": \"\"}}", EMB_ERR_FORMAT, "x"},
	{"sub-directory", "{\"weight_map\": {\"x\": \"sub/a.safetensors\"}}", EMB_ERR_FORMAT, "sub/a"},
};

static void
test_shards(void)
{
	char		index[65536];
	size_t		n = 0;
	bool		found = false;
	EmbError	err;

	for (size_t i = 0; i < sizeof(shard_cases) / sizeof(shard_cases[0]); i++)
	{
		const char *dir = fresh_dir();
		EmbStatus	status;

		write_safetensors(dir, "a.safetensors", "{" T("x", "F32", "[1]", 0, 4) ", " T("y", "F32", "[1]", 4, 8) "}", NULL, 8);
		write_safetensors(dir, "b.safetensors", "{" T("y", "F32", "[1]", 0, 4) "}", NULL, 4);
		if (strcmp(shard_cases[i].what, "tensor elsewhere") == 0)
			write_safetensors(dir, "a.safetensors", "{" T("x", "F32", "[1]", 0, 4) "}", NULL, 4);
		write_text(dir, "model.safetensors.index.json", shard_cases[i].index);
		status = open_dir(dir, "y", &found, &err);
		CHECKF(status == shard_cases[i].status &&
			   (shard_cases[i].message == NULL || strstr(err.message, shard_cases[i].message) != NULL),
			   "%s: status %d, \"%s\"", shard_cases[i].what, status, err.message);
		if (status == EMB_OK)
			CHECK(found);
	}

	/* more shards than file descriptors should be spent on */
	fresh_dir();
	n += sprintf(index, "{\"weight_map\": {");
	for (int i = 0; i <= EMB_TENSORS_MAX_SHARDS; i++)
	{
		char		name[32],
					header[128];

		sprintf(name, "s%d.safetensors", i);
		sprintf(header, "{\"t%d\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", i);
		write_safetensors(temp_root, name, header, NULL, 4);
		n += sprintf(index + n, "%s\"t%d\": \"%s\"", i > 0 ? ", " : "", i, name);
	}
	sprintf(index + n, "}}");
	write_text(temp_root, "model.safetensors.index.json", index);
	CHECK(open_dir(temp_root, "t0", &found, &err) == EMB_ERR_LIMIT);
}

static void
test_other_formats(void)
{
	bool		found;
	EmbError	err;

	fresh_dir();
	CHECK(open_dir(temp_root, "x", &found, &err) == EMB_ERR_NOT_FOUND && strstr(err.message, "model.safetensors") != NULL);
	write_text(temp_root, "tf_model.h5", "x");
	CHECK(open_dir(temp_root, "x", &found, &err) == EMB_ERR_UNSUPPORTED && strstr(err.message, "tf_model.h5") != NULL);
	CHECK(strstr(err.hint, "model.safetensors") != NULL);
}

/* ------------------------------------------------------------- conversions */

static float
half_value(unsigned h)
{
	int			exponent = h >> 10 & 31;
	double		x = exponent == 0 ? ldexp(h & 1023, -24) : ldexp((h & 1023) + 1024, exponent - 25);

	return (float) (h & 0x8000 ? -x : x);
}

static void
test_conversion(const char *dtype, bool is_f16)
{
	static uint16_t halves[65536];
	static float out[65536];
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbTensorSet set;
	EmbError	err;
	const EmbTensor *t;
	char		header[128];
	int			n = 0;
	int			n_wrong = 0;

	for (unsigned h = 0; h < 65536; h++)
	{
		if (is_f16 ? (h & 0x7C00) != 0x7C00 : (h & 0x7F80) != 0x7F80)
			halves[n++] = (uint16_t) h;
	}
	sprintf(header, "{\"x\": {\"dtype\": \"%s\", \"shape\": [%d], \"data_offsets\": [0, %d]}}", dtype, n, n * 2);
	write_safetensors(fresh_dir(), "model.safetensors", header, halves, (size_t) n * 2);
	if (!CHECK(emb_tensors_open_dir(temp_root, &mem, NULL, &set, &err) == EMB_OK))
		return;
	t = emb_tensors_find(&set, "x");
	CHECK(t != NULL && t->n_elems == n && t->rank == 1);
	CHECK(emb_tensors_read_f32(&set, t, 0, n, out, &err) == EMB_OK);
	for (int i = 0; i < n; i++)
	{
		uint32_t	bits = (uint32_t) halves[i] << 16;
		float		want;

		memcpy(&want, &bits, sizeof(want));
		if (is_f16)
			want = half_value(halves[i]);
		n_wrong += memcmp(&want, &out[i], sizeof(want)) != 0;
	}
	CHECKF(n_wrong == 0, "%d of %d %s values", n_wrong, n, dtype);
	CHECK(emb_tensors_read_f32(&set, t, n - 1, 1, out, &err) == EMB_OK);
	CHECK(emb_tensors_read_f32(&set, t, n - 1, 2, out, &err) == EMB_ERR_INTERNAL);
	emb_tensors_close(&set);
	CHECK(count.n_live == 0);
}

static void
test_values(void)
{
	static const float bad[2][3] = {{1, 2, NAN}, {1, -INFINITY, 2}};
	EmbAllocator mem = emb_malloc_allocator();
	EmbTensorSet set;
	EmbError	err;
	float		out[3];
	char		path[PATH_MAX];

	for (int i = 0; i < 2; i++)
	{
		write_safetensors(fresh_dir(), "model.safetensors", "{" T("culprit", "F32", "[3]", 0, 12) "}", bad[i], 12);
		if (!CHECK(emb_tensors_open_dir(temp_root, &mem, NULL, &set, &err) == EMB_OK))
			return;
		CHECK(emb_tensors_read_f32(&set, emb_tensors_find(&set, "culprit"), 0, 3, out, &err) == EMB_ERR_FORMAT);
		CHECKF(strstr(err.message, "culprit") != NULL && strstr(err.message, i == 0 ? "index 2" : "index 1") != NULL,
			   "%s", err.message);
		emb_tensors_close(&set);
	}

	/* a type we do not read, and a file cut after it was opened */
	write_safetensors(fresh_dir(), "model.safetensors", "{" T("ids", "I64", "[1]", 0, 8) ", " T("x", "F32", "[3]", 8, 20) "}", NULL, 20);
	if (!CHECK(emb_tensors_open_dir(temp_root, &mem, NULL, &set, &err) == EMB_OK))
		return;
	CHECK(emb_tensors_read_f32(&set, emb_tensors_find(&set, "ids"), 0, 1, out, &err) == EMB_ERR_UNSUPPORTED);
	CHECK(strstr(err.message, "ids") != NULL && strstr(err.message, "I64") != NULL);
	snprintf(path, sizeof(path), "%s/model.safetensors", temp_root);
	if (truncate(path, 100) != 0)
		abort();
	CHECK(emb_tensors_read_f32(&set, emb_tensors_find(&set, "x"), 0, 3, out, &err) == EMB_ERR_FORMAT);
	emb_tensors_close(&set);
}

/* Every allocation that can fail does, once; nothing leaks and nothing crashes. */
static void
test_no_memory(void)
{
	Count		count;
	EmbAllocator mem = counting_allocator(&count);
	EmbStatus	status = EMB_ERR_NOMEM;
	EmbError	err;

	write_safetensors(fresh_dir(), "a.safetensors", "{" T("x", "F32", "[1]", 0, 4) "}", NULL, 4);
	write_text(temp_root, "model.safetensors.index.json", "{\"weight_map\": {\"x\": \"a.safetensors\"}}");
	for (int i = 0; status != EMB_OK && i < 100; i++)
	{
		EmbTensorSet set = {0};

		count.fail_after = i;
		status = emb_tensors_open_dir(temp_root, &mem, NULL, &set, &err);
		CHECK(status == EMB_OK || status == EMB_ERR_NOMEM);
		if (status == EMB_OK)
			emb_tensors_close(&set);
		CHECK(count.n_live == 0);
	}
	CHECK(status == EMB_OK);
}

int
main(void)
{
	test_headers();
	test_lengths();
	test_special_files();
	test_shards();
	test_other_formats();
	test_conversion("F16", true);
	test_conversion("BF16", false);
	test_values();
	test_no_memory();
	return done_testing();
}
