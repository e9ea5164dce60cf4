/*
 * test_cli_report.c
 *		embed-cli report: pages of all kinds of models, read back as HTML and XML
 *		by test/tools/check_report.py; hostile names and prompts; files that
 *		exist. No speed is compared: the figures are those of a busy machine. Also what
 *		embed-cli inspect says of each kind.
 */
#include "model_util.h"

#include <sys/wait.h>

static const char *cli;
static char output[65536];		/* of the last command, both streams */

/* Runs a command; returns its exit status. */
__attribute__((format(printf, 1, 2))) static int
run(const char *fmt,...)
{
	char		arguments[4 * PATH_MAX];
	char		command[5 * PATH_MAX];
	va_list		args;
	FILE	   *f;
	int			status;

	va_start(args, fmt);
	vsnprintf(arguments, sizeof(arguments), fmt, args);
	va_end(args);
	snprintf(command, sizeof(command), "{ %s; } 2>&1", arguments);
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

static const char *
python(void)
{
	const char *given = getenv("EMBED_PYTHON");

	return given != NULL ? given : "python3";
}

/* Makes the page of a tiny model and reads it back: output has its facts. */
static bool
report(const char *name, const char *options)
{
	int			status = run("rm -f '%s/page.html'; '%s' report --seconds 0.05 --out '%s/page.html' %s '%s/tiny/%s/model'",
							 temp_root, cli, temp_root, options, data_dir(), name);

	if (!CHECKF(status == 0, "%s: %d, %s", name, status, output))
		return false;
	status = run("%s test/tools/check_report.py '%s/page.html'", python(), temp_root);
	return CHECKF(status == 0, "%s: %s", name, output);
}

static void
test_kinds(void)
{
	static const struct
	{
		const char *name,
				   *options,
				   *kind,
				   *more[2];
	}			cases[] = {
		{"bert-cls", "", "embedding", {"pooling\tcls", "cosine to the unquantized model\tmean 0.99"}},
		{"bert-cls", "--precision fp32", "embedding", {"precision\tfp32", "cosine to the unquantized model\tmean 1.000000"}},
		{"bge-m3", "", "embedding, with outputs of tokens", {"sparse weights\tof ", "cosine of token vectors, at import\tmean 0.9"}},
		{"model2vec", "", "embedding (static)", {"tokenizer\t", "bits as at import\t"}},
		{"qwen3-embed", "", "embedding", {"tokenizer\tBPE", "family\tqwen3"}},
		{"bert-rerank", "", "reranker (cross-encoder)", {"tokenizer\tWordPiece", "1 - difference of scores"}},
		{"qwen3-rerank", "--kind reranker", "reranker (decoder)", {"instruction\t", "1 - difference of scores"}},
		{"splade-bert", "", "sparse", {"sparse weights\tof ", "cosine of sparse weights, at import\tmean 0.9"}},
		{"colbert-bert", "", "multi-vector", {"token vectors\tof 8 dimensions", "cosine of token vectors, at import\tmean 0.9"}},
		{"nomic-experts", "--precision int4", "embedding", {"precision\tint4", "bits as at import\t"}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		kind[64];

		if (!report(cases[i].name, cases[i].options))
			continue;
		snprintf(kind, sizeof(kind), "\nkind\t%s\n", cases[i].kind);
		CHECKF(says(kind) && says(cases[i].more[0]) && says(cases[i].more[1]), "%s: %s", cases[i].name, output);
		CHECKF(says("1 thread, one text a call\t") && says("16 tokens\t1 | ") && says("level in use\t") && says("load before\t") && says("fingerprint\t"),
			   "%s: %s", cases[i].name, output);
	}
}

/* An image instead of a directory, lengths, threads and texts a call as asked for. */
static void
test_options(void)
{
	CHECK(run("'%s' pack '%s/tiny/qwen3-embed/model' >'%s/one.img'", cli, data_dir(), temp_root) == 0);
	CHECK(run("'%s' report --seconds 0.05 --tokens 100 --threads 3 --batch 2 '%s/one.img' >'%s/two.html'", cli, temp_root, temp_root) == 0);
	CHECKF(run("%s test/tools/check_report.py '%s/two.html'", python(), temp_root) == 0, "%s", output);
	CHECKF(says("name\tone.img") && !says(temp_root) && says("3 threads, up to 2 texts a call\t") && says("64 tokens\t2 | ") && says("100 tokens\t2 | ") &&
		   !says("128 tokens"), "%s", output);
	CHECK(run("'%s' report --seconds 0.05 --tokens 1 --threads 1 --batch 1 '%s/one.img' >'%s/three.html'", cli, temp_root, temp_root) == 0);
	CHECKF(run("%s test/tools/check_report.py '%s/three.html'", python(), temp_root) == 0, "%s", output);
	CHECKF(says("1 tokens\t1 | ") && !says("16 tokens") && !says("up to"), "%s", output);
	if (!report("bert-cls", "--check --tokens 20"))
		return;
	CHECK(run("grep -c 'verdict         ok' '%s/page.html'", temp_root) == 0);
}

/* Texts of files and users stay text. */
static void
test_hostile(void)
{
	static const char name[] = "<img src=x onerror=alert(1)>\"'&\x01\xFF\xE2\x80\xAE.img";

	CHECK(run("'%s' pack --query-prompt '<script>alert(1)</script>&amp;\"' --document-prompt '</td></table><!-- ' '%s/tiny/bert-cls/model' >'%s/one.img'",
			  cli, data_dir(), temp_root) == 0);
	CHECK(run("cd '%s' && mv one.img '%s'\"'\"'%s'", temp_root, "<img src=x onerror=alert(1)>\"", name + sizeof("<img src=x onerror=alert(1)>\"'") - 1) == 0);
	CHECK(run("cd '%s' && '%s' report --seconds 0.05 --tokens 16 ./*.img >page.html", temp_root, cli) == 0);
	CHECKF(run("%s test/tools/check_report.py '%s/page.html'", python(), temp_root) == 0, "%s", output);
	CHECKF(says("name\t<img src=x onerror=alert(1)>\"'&\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD.img\n"), "%s", output);
	CHECKF(says("query prompt\t<script>alert(1)</script>&amp;\"\n") && says("document prompt\t</td></table><!-- \n"), "%s", output);
	CHECK(run("grep -q '<script\\|<img\\|<!-- ' '%s/page.html'", temp_root) == 1);
}

/* A model without a vector of a text has neither dimensions nor pooling. */
static void
test_inspect(void)
{
	CHECK(run("'%s' inspect '%s/tiny/colbert-bert/model'", cli, data_dir()) == 0);
	CHECKF(says("\nkind            multi\n") && says("\ntoken vectors   of 8 dimensions\n") && !says("\ndimensions ") && !says("\npooling "), "%s", output);
	CHECK(run("'%s' inspect '%s/tiny/splade-bert/model'", cli, data_dir()) == 0);
	CHECKF(says("kind            sparse\n") && says("\nsparse weights  of token ids\n") && !says("\ndimensions "), "%s", output);
	CHECK(run("'%s' inspect '%s/tiny/bge-m3/model'", cli, data_dir()) == 0);
	CHECKF(says("kind            embedding\n") && says("\ndimensions      ") && says("\ntokenizer       Unigram\n"), "%s", output);
	CHECK(run("'%s' inspect '%s/tiny/bert-rerank/model'", cli, data_dir()) == 0);
	CHECKF(says("kind            reranker\n") && says("\ntokenizer       WordPiece\n"), "%s", output);
}

static void
test_errors(void)
{
	char		path[PATH_MAX];
	struct stat st;

	write_text(temp_root, "there", "mine");
	CHECK(run("'%s' report --out '%s/there' '%s/tiny/bert-cls/model'", cli, temp_root, data_dir()) == 1);
	CHECKF(says("/there exists, and is not replaced"), "%s", output);
	CHECK(run("grep -qx mine '%s/there'", temp_root) == 0);
	CHECK(run("'%s' report --seconds 0.05 --tokens 16 --out '%s/no/page' '%s/tiny/bert-cls/model'", cli, temp_root, data_dir()) == 1);
	CHECKF(says("could not create ") && says("/no/page: No such file"), "%s", output);
	CHECK(run("'%s' report --out '%s/none' /nonexistent/model", cli, temp_root) == 1);
	CHECKF(says("could not open /nonexistent/model"), "%s", output);
	snprintf(path, sizeof(path), "%s/none", temp_root);
	CHECK(stat(path, &st) != 0);
	CHECK(run("'%s' report --seconds 0.05 --tokens 16 '%s/tiny/bert-cls/model' >/dev/full", cli, data_dir()) == 1);
	CHECKF(says("could not write"), "%s", output);
	CHECK(run("'%s' report", cli) == 2);
	CHECK(run("'%s' report --seconds 0 '%s/tiny/bert-cls/model'", cli, data_dir()) == 2);
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
	/* a page is made in another folder */
	cli = realpath(cli, NULL);
	CHECK(cli != NULL);
	if (cli == NULL)
		return done_testing();
	fresh_dir();
	test_inspect();
	test_errors();
	if (run("%s -c ''", python()) != 0)
	{
		skip("no Python: pages of embed-cli report are not read back");
		return done_testing();
	}
	test_kinds();
	test_options();
	fresh_dir();
	test_hostile();
	return done_testing();
}
