/*
 * test_check.c
 *		embed-cli check and pack --check: the verdict on right and on damaged
 *		images, what is said without OpenBLAS, and that no check changes an
 *		image.
 */
#include "model_util.h"

#include <sys/wait.h>

#include "image/image.h"

static const char *cli;
static char output[65536];		/* of the last command, both streams */

/* Runs embed-cli with arguments; returns its exit status. */
__attribute__((format(printf, 2, 3))) static int
run(const char *environment, const char *fmt,...)
{
	char		arguments[3 * PATH_MAX];
	char		command[4 * PATH_MAX];
	va_list		args;
	FILE	   *f;
	int			status;

	va_start(args, fmt);
	vsnprintf(arguments, sizeof(arguments), fmt, args);
	va_end(args);
	snprintf(command, sizeof(command), "{ %s %s %s; } 2>&1", environment, cli, arguments);
	f = popen(command, "r");
	output[fread(output, 1, sizeof(output) - 1, f)] = '\0';
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool
says(const char *text)
{
	return strstr(output, text) != NULL;
}

static void
test_models(void)
{
	static const char *const names[] = {"bert-cls", "bert-rerank", "bert-dense", "bge-m3", "model2vec", "modernbert-rerank", "quantized-awq", "qwen3-embed", "nomic-experts", "jina-code"};
	static const char *const ggufs[] = {"bert-mean-36-F32.gguf", "bge-m3-Q8_0-00001-of-00003.gguf", "modernbert-rerank-F16.gguf"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		int			status = run("", "check --tokens 40 %s/tiny/%s/model", data_dir(), names[i]);

		CHECKF(status == 0 && says("\nfp32 ") && says("\nint8 ") && says("\nverdict         ok"), "%s: %d, %s", names[i], status, output);
		CHECKF(says(strcmp(names[i], "quantized-awq") == 0 ? "to 24 tokens" : "to 40 tokens"), "%s: %s", names[i], output);
	}
	for (size_t i = 0; i < sizeof(ggufs) / sizeof(ggufs[0]); i++)
	{
		int			status = run("", "check --tokens 40 %s/gguf/%s", data_dir(), ggufs[i]);

		CHECKF(status == 0 && says("\nverdict         ok"), "%s: %d, %s", ggufs[i], status, output);
	}
	/* the template of a decoder takes most of a short text */
	CHECK(run("", "check --name rerank --precision fp32 --tokens 129 %s/tiny/qwen3-rerank/model", data_dir()) == 0);
	CHECKF(says("to 129 tokens") && says("\nverdict         ok"), "%s", output);
	CHECK(run("", "check --tokens 20 --precision fp32 --threads 2 %s/tiny/bert-cls/model", data_dir()) == 0);
	CHECKF(says("\nfp32 ") && !says("\nint8 ") && says("2 threads"), "%s", output);
	/* pooling and norm that no file says */
	CHECK(run("", "check --kind embedding --pooling mean --normalize no --precision fp32 --tokens 20 %s/tiny/qwen3-rerank/model", data_dir()) == 0);
	CHECKF(says("\nverdict         ok"), "%s", output);
	CHECK(run("", "check --kind embedding --normalize true %s/tiny/qwen3-rerank/model", data_dir()) == 2);
	CHECKF(says("\"true\" is not a value for this option"), "%s", output);
	CHECK(run("", "check --tokens 20 --precision int4 %s/tiny/bert-cls/model", data_dir()) == 0);
	CHECKF(says("\nint4 ") && !says("\nint8 ") && says("required 0.98 and 0.92: ok"), "%s", output);
}

/* An image with other options than the directory's own, and the same with a few weights changed. */
static void
test_image(void)
{
	char		file[PATH_MAX];
	EmbImageView view;
	size_t		size;
	char	   *bytes;
	uint8_t    *image;
	float	   *weights;

	snprintf(file, sizeof(file), "%s/image", temp_root);
	CHECK(run("", "pack --precision fp32 --dimensions 16 %s/tiny/bert-cls/model >'%s'", data_dir(), file) == 0);
	CHECK(run("", "check --tokens 20 %s/tiny/bert-cls/model --model '%s'", data_dir(), file) == 0);
	CHECKF(says("\nfp32 ") && !says("\nint8 ") && says("\nverdict         ok"), "%s", output);

	CHECK(run("", "check %s/tiny/bert-mean-48/model --model '%s'", data_dir(), file) == 1);
	CHECKF(says("the image was not made from this directory"), "%s", output);

	bytes = read_file(temp_root, "image", &size);
	image = aligned_alloc(EMB_ALIGNMENT, (size + EMB_ALIGNMENT - 1) / EMB_ALIGNMENT * EMB_ALIGNMENT);
	memcpy(image, bytes, size);
	if (CHECK(emb_image_view(image, size, &view, NULL) == EMB_OK))
	{
		weights = (float *) (image + emb_image_find(&view, 1, EMB_PART_FFN_DOWN, EMB_TENSOR_WEIGHT)->offset);
		for (int i = 0; i < 64; i++)
			weights[i] *= 1.01f;
		write_file(temp_root, "image", image, size);
		CHECK(run("", "check --tokens 20 %s/tiny/bert-cls/model --model '%s'", data_dir(), file) == 1);
		CHECKF(says("allowed 1e-05: FAILED") && says("\nverdict         FAILED"), "%s", output);
	}
	free(image);
	free(bytes);
}

static void
test_pack(void)
{
	static const char *const precisions[] = {"int8", "fp32"};
	size_t		size[2];
	char	   *image[2];

	for (int i = 0; i < 2; i++)
	{
		CHECK(run("", "pack --precision %s %s/tiny/bert-rerank/model >'%s/plain'", precisions[i], data_dir(), temp_root) == 0);
		CHECK(run("", "pack --check --tokens 20 --precision %s %s/tiny/bert-rerank/model >'%s/checked'", precisions[i], data_dir(), temp_root) == 0);
		CHECKF(says("\nverdict         ok") && says(precisions[i]), "%s", output);
		image[0] = read_file(temp_root, "plain", &size[0]);
		image[1] = read_file(temp_root, "checked", &size[1]);
		CHECK(size[0] > 1000 && size[0] == size[1] && memcmp(image[0], image[1], size[0]) == 0);
		free(image[0]);
		free(image[1]);
	}
}

/* Files that are no libraries, found before OpenBLAS. */
static void
test_without(void)
{
	char		path[PATH_MAX];
	struct stat st;

	write_text(temp_root, "libopenblas.so.0", "");
	write_text(temp_root, "libopenblaso.so.0", "");
	write_text(temp_root, "libopenblasp.so.0", "");
	snprintf(path, sizeof(path), "LD_LIBRARY_PATH='%s'", temp_root);
	CHECK(run(path, "check %s/tiny/bert-cls/model", data_dir()) == 1);
	CHECKF(says("the reference needs OpenBLAS") && says("apt-get install libopenblas0"), "%s", output);
	CHECK(run(path, "pack --check %s/tiny/bert-cls/model >'%s/none'", data_dir(), temp_root) == 1);
	snprintf(path, sizeof(path), "%s/none", temp_root);
	CHECK(stat(path, &st) == 0 && st.st_size == 0);
	/* no other command needs it */
	snprintf(path, sizeof(path), "LD_LIBRARY_PATH='%s'", temp_root);
	CHECKF(run(path, "verify %s/tiny/bert-cls/model", data_dir()) == 0, "%s", output);
}

static void
test_errors(void)
{
	CHECK(run("", "check /nonexistent/model") == 1);
	CHECKF(says("/nonexistent/model"), "%s", output);
	CHECK(run("", "check %s/tiny/bert-cls/model --model /nonexistent/image", data_dir()) == 1);
	CHECKF(says("could not open /nonexistent/image"), "%s", output);
	CHECK(run("", "check") == 2);
	CHECK(run("", "check --tokens 1 %s/tiny/bert-rerank/model", data_dir()) == 1);
	CHECKF(says("no text fits into 1 tokens"), "%s", output);
}

int
main(void)
{
	cli = getenv("EMBED_CLI");
	if (cli == NULL)
	{
		skip("EMBED_CLI names no embed-cli");
		return done_testing();
	}
	fresh_dir();
	test_without();
	if (run("", "check --tokens 5 %s/tiny/bert-cls/model", data_dir()) != 0 && says("the reference needs OpenBLAS"))
	{
		skip("OpenBLAS is not installed (libopenblas0): embed-cli check");
		return done_testing();
	}
	/* temp_root has no libraries any more */
	fresh_dir();
	test_models();
	test_image();
	test_pack();
	test_errors();
	return done_testing();
}
