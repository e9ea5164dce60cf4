/*
 * cli_report.c
 *		A page for a ticket: how fast a model is here, what memory it takes,
 *		whether it computes what it computed at import, and on what machine.
 *
 * The page is made in memory and written last, so that an error leaves no part
 * of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli_page.h"
#include "cli/cli_report.h"

#define N_WORST			5

/* ------------------------------------------------------------------ pieces */

/* A cell's text; several may be in use at once. */
__attribute__((format(printf, 1, 2))) static const char *
cell(const char *format,...)
{
	static char rooms[16][256];
	static int	next = 0;
	char	   *room = rooms[next++ % 16];
	va_list		args;

	va_start(args, format);
	vsnprintf(room, sizeof(rooms[0]), format, args);
	va_end(args);
	return room;
}

static const char *
bytes_cell(size_t n)
{
	if (n < 10 * 1024)
		return cell("%zu bytes", n);
	return n < 10 << 20 ? cell("%.0f kB", n / 1024.0) : cell("%.1f MB", n / 1048576.0);
}

static const char *
share_cell(const Report *r, const ReportSeries *s, int i)
{
	const ReportPoint *p = &s->points[i];
	double		done = report_operations(r->view.arch, r->lengths[i]) / r->lengths[i] * p->tokens_per_s;

	if (!p->is_measured || r->peak_gops <= 0)
		return "";
	return cell("%.1f %%", 100 * done / (r->peak_gops * 1e9 * s->n_threads));
}

static const char *
kind_of(const EmbModelInfo *info)
{
	if (info->kind == EMB_KIND_RERANKER)
		return info->has_template ? "reranker (decoder)" : "reranker (cross-encoder)";
	if (info->n_layers == 0)
		return "embedding (static)";
	if (info->has_dense)
		return info->has_sparse || info->multi_dim > 0 ? "embedding, with outputs of tokens" : "embedding";
	return info->has_sparse ? "sparse" : "multi-vector";
}

/* The last part of the path: folders of a machine are nobody's business. */
static const char *
name_of(const Report *r)
{
	const char *path = r->args->import.name != NULL ? r->args->import.name : r->args->rest[0];
	const char *slash;
	static char name[256];
	size_t		n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	slash = memrchr(path, '/', n);
	if (slash != NULL && r->args->import.name == NULL && n > 1)
	{
		n -= slash + 1 - path;
		path = slash + 1;
	}
	snprintf(name, sizeof(name), "%.*s", (int) emb_text_clip(path, n, sizeof(name) - 1), path);
	return name;
}

/* ---------------------------------------------------------------- sections */

/* A text of any length. */
static void
put_long_row(FILE *f, const char *label, const char *text, size_t len)
{
	fprintf(f, "<tr><th>%s</th><td>", label);
	page_text(f, text, len);
	fputs("</td></tr>\n", f);
}

static void
put_model(const Report *r, FILE *f)
{
	const EmbModelInfo *info = emb_model_info(r->m.model);

	page_heading(f, "Model");
	page_table_begin(f, "", NULL);
	page_row(f, "name", name_of(r), NULL);
	page_row(f, "fingerprint", r->fingerprint, NULL);
	page_row(f, "kind", kind_of(info), NULL);
	page_row(f, "family", info->family, NULL);
	page_row(f, "precision", info->precision, NULL);
	if (info->kind != EMB_KIND_RERANKER && info->has_dense)
		page_row(f, "dimensions", cell("%d%s", info->dim, info->normalize ? ", normalized" : ""), NULL);
	if (info->has_sparse)
		page_row(f, "sparse weights", cell("of %d token ids", info->n_vocab), NULL);
	if (info->multi_dim > 0)
		page_row(f, "token vectors", cell("of %d dimensions", info->multi_dim), NULL);
	if (info->has_dense || info->kind == EMB_KIND_RERANKER)
		page_row(f, "pooling", info->pooling, NULL);
	page_row(f, "tokenizer", cell("%s, vocabulary of %d", info->tokenizer, info->n_vocab), NULL);
	page_row(f, "maximum", info->max_chars > 0 ? cell("%d tokens, %d characters", info->max_tokens, info->max_chars) : cell("%d tokens", info->max_tokens), NULL);
	if (info->n_layers > 0)
		page_row(f, "layers", cell("%d of hidden size %d, %d heads, intermediate size %d", info->n_layers, info->hidden, info->n_heads, info->intermediate), NULL);
	put_long_row(f, "query prompt", info->query_prompt, strlen(info->query_prompt));
	put_long_row(f, "document prompt", info->document_prompt, strlen(info->document_prompt));
	if (info->instruction != NULL)
		put_long_row(f, "instruction", info->instruction, info->instruction_bytes);
	page_row(f, "versions", cell("embed-cli %s, image layout %u, numerics %u", EMBED_CORE_VERSION, info->layout_version, info->numerics_version), NULL);
	page_table_end(f);
}

/* The first line of the page's body: what a reader must know of the figures. */
static void
put_conditions(const Report *r, FILE *f)
{
	const char *failed = emb_isa_failed();

	if (r->machine.load >= 1)
	{
		fputs("<div class=\"warn\">\n", f);
		page_paragraph(f, "The machine was not quiet: its load was %.1f before this report began, so the speeds may be too low.", r->machine.load);
		fputs("</div>\n", f);
	}
	if (failed != NULL)
	{
		fputs("<div class=\"warn\">\n", f);
		page_paragraph(f, "Level %s failed its self-test in operation %s; %s was used instead.", failed, emb_isa_failed_op(failed), emb_isa_name());
		fputs("</div>\n", f);
	}
}

static void
put_speed_chart(const Report *r, FILE *f)
{
	PageChart	chart = {.title = "Tokens per second by length", .x_label = "tokens of a text", .y_label = "tokens per second",
		.n_points = r->n_lengths, .n_lines = r->n_series};

	for (int i = 0; i < r->n_lengths; i++)
		chart.x[i] = r->lengths[i];
	for (int k = 0; k < r->n_series; k++)
	{
		chart.lines[k].label = r->series[k].label;
		for (int i = 0; i < r->n_lengths; i++)
			chart.lines[k].y[i] = r->series[k].points[i].is_measured ? r->series[k].points[i].tokens_per_s : -1;
	}
	page_chart(f, &chart);
}

static void
put_speed(const Report *r, FILE *f)
{
	page_heading(f, "Speed");
	put_speed_chart(r, f);
	if (r->peak_gops > 0)
		page_paragraph(f, "Share of peak: operations of linear layers and attention for all tokens, divided by what %s can do in registers, measured now: "
					   "%.0f GOPS a core.", r->view.config->precision == EMB_PRECISION_FP32 ? "fp32 multiply-adds" : "int8 dot products", r->peak_gops);
	page_paragraph(f, "Token ids are random, so that no two texts are equal; the tokenizer is not included. Medians of calls, in wall time.");
	for (int k = 0; k < r->n_series; k++)
	{
		const ReportSeries *s = &r->series[k];

		page_table_begin(f, s->label, "texts a call", "tokens/s", "of peak", "call, ms", "calls", "scratch memory", NULL);
		for (int i = 0; i < r->n_lengths; i++)
		{
			const ReportPoint *p = &s->points[i];
			const char *texts = cell("%d", p->n_texts);

			if (!p->is_measured)
				page_row(f, cell("%d tokens", r->lengths[i]), texts, "not measured", "", cell("about %.0f", p->expected_s * 1e3), "", "", NULL);
			else
				page_row(f, cell("%d tokens", r->lengths[i]), texts, cell("%.0f", p->tokens_per_s), share_cell(r, s, i),
						 cell("%.3f (%.3f to %.3f)", p->times.median_s * 1e3, p->times.least_s * 1e3, p->times.most_s * 1e3),
						 cell("%d", p->times.n_calls), bytes_cell(p->scratch_bytes), NULL);
		}
		page_table_end(f);
	}
}

static void
put_memory(const Report *r, FILE *f)
{
	PageChart	chart = {.title = "Scratch memory by length", .x_label = "tokens of a text", .y_label = "scratch memory, MB",
		.n_points = r->n_lengths, .n_lines = r->n_series};

	page_heading(f, "Memory");
	page_paragraph(f, "The image has %lld bytes (%s). A server maps it once for all sessions. A call also takes scratch memory, and gives it back at its end:",
				   (long long) r->m.size_bytes, bytes_cell(r->m.size_bytes));
	for (int i = 0; i < r->n_lengths; i++)
		chart.x[i] = r->lengths[i];
	for (int k = 0; k < r->n_series; k++)
	{
		chart.lines[k].label = r->series[k].label;
		for (int i = 0; i < r->n_lengths; i++)
			chart.lines[k].y[i] = r->series[k].points[i].is_measured ? r->series[k].points[i].scratch_bytes / 1048576.0 : -1;
	}
	page_chart(f, &chart);
}

/* ---------------------------------------------------------------- accuracy */

/* Of the reference texts. Closeness of what the model has not is counted nowhere. */
typedef struct Accuracy
{
	int			n,
				n_ids,
				n_bits;
	double		sum[3];			/* of vectors or scores, of sparse weights, of token vectors */
	double		least[3];
	int			n_close[3];
} Accuracy;

static void
count_closeness(Accuracy *a, int which, double value)
{
	a->least[which] = a->n_close[which] == 0 ? value : fmin(a->least[which], value);
	a->sum[which] += value;
	a->n_close[which]++;
}

static void
put_closeness(const Accuracy *a, int which, const char *what, FILE *f)
{
	if (a->n_close[which] > 0)
		page_row(f, what, cell("mean %.6f, least %.6f", a->sum[which] / a->n_close[which], a->least[which]), NULL);
}

/* Reference texts that are not as at import: those with other ids first of all. */
static void
put_wrong(const EmbReferenceCheck *check, int number, FILE *f)
{
	fprintf(f, "<tr><th>%d</th><td>%s</td><td>", number, check->ids_equal ? "other bits" : "other token ids");
	page_text(f, check->text, emb_text_clip(check->text, check->text_bytes, 200));
	fputs("</td></tr>\n", f);
}

static int
put_accuracy(const Report *r, FILE *f)
{
	const EmbModelInfo *info = emb_model_info(r->m.model);
	EmbRun		run = {.mem = &r->m.mem, .n_threads = r->args->threads};
	Accuracy	a = {.n = emb_model_n_references(r->m.model)};
	char	   *wrong = NULL;
	size_t		wrong_bytes = 0;
	FILE	   *wrong_rows = open_memstream(&wrong, &wrong_bytes);
	int			code = wrong_rows == NULL ? CLI_FAILED : 0;
	int			n_shown = 0;

	for (int i = 0; code == 0 && i < a.n; i++)
	{
		EmbReferenceCheck check;
		EmbError	err;
		bool		are_bits_equal;

		if (emb_model_check_reference(r->m.model, i, &run, &check, &err) != EMB_OK)
		{
			code = cli_error("verify", &err);
			break;
		}
		are_bits_equal = check.bits_equal && check.sparse_equal && check.multi_equal;
		a.n_ids += check.ids_equal;
		a.n_bits += check.ids_equal && are_bits_equal;
		if (info->has_dense || info->kind == EMB_KIND_RERANKER)
			count_closeness(&a, 0, check.closeness);
		if (info->has_sparse && check.sparse_closeness > 0)
			count_closeness(&a, 1, check.sparse_closeness);
		if (info->multi_dim > 0 && check.multi_closeness > 0)
			count_closeness(&a, 2, check.multi_closeness);
		if (!(check.ids_equal && are_bits_equal) && n_shown++ < N_WORST)
			put_wrong(&check, i + 1, wrong_rows);
	}
	if (wrong_rows != NULL)
		fclose(wrong_rows);
	if (code == 0)
	{
		page_heading(f, "Accuracy");
		page_paragraph(f, "The reference texts of the image, computed again on this machine: %s.",
					   a.n == 0 ? "it has none" : a.n_bits == a.n ? "all are as at import" : "NOT all are as at import");
		page_table_begin(f, "", NULL);
		page_row(f, "token ids as at import", cell("%d of %d", a.n_ids, a.n), NULL);
		page_row(f, "bits as at import", cell("%d of %d", a.n_bits, a.n), NULL);
		put_closeness(&a, 0, info->kind == EMB_KIND_RERANKER ? "1 - difference of scores to the unquantized model" : "cosine to the unquantized model", f);
		put_closeness(&a, 1, "cosine of sparse weights, at import", f);
		put_closeness(&a, 2, "cosine of token vectors, at import", f);
		page_table_end(f);
		if (n_shown > 0)
		{
			page_table_begin(f, "text", "what differs", "", NULL);
			fwrite(wrong, 1, wrong_bytes, f);
			page_table_end(f);
		}
	}
	free(wrong);
	return code;
}

/* --check: what the independent reference says, as embed-cli check prints it. */
static int
put_check(const Report *r, FILE *f)
{
	char	   *text = NULL;
	size_t		size = 0;
	FILE	   *to;
	int			code;

	if (!r->args->check)
		return 0;
	to = open_memstream(&text, &size);
	code = to != NULL ? cli_check_packed(r->args, &r->m, to) : CLI_FAILED;
	if (to != NULL)
		fclose(to);
	/* a verdict against the model is what the page is for */
	if (text != NULL && strstr(text, "verdict") != NULL)
	{
		code = 0;
		page_paragraph(f, "An independent reference computed the unquantized model from its directory:");
		fputs("<pre>", f);
		page_text(f, text, size);
		fputs("</pre>\n", f);
	}
	free(text);
	return code;
}

static void
put_machine(const Report *r, FILE *f)
{
	const CliMachine *m = &r->machine;

	page_heading(f, "Machine");
	page_table_begin(f, "", NULL);
	page_row(f, "CPU", m->cpu[0] != '\0' ? m->cpu : "unknown", NULL);
	page_row(f, "numbers", m->numbers, NULL);
	page_row(f, "CPUs of this process", cell("%d", m->n_cpus), NULL);
	page_row(f, "level in use", emb_isa_name(), NULL);
	page_row(f, "caches", m->caches, NULL);
	if (m->memory_gb > 0)
		page_row(f, "memory", cell("%.1f GB", m->memory_gb), NULL);
	page_row(f, "load before", m->load >= 0 ? cell("%.2f%s", m->load, m->load < 1 ? " (quiet)" : " (not quiet)") : "unknown", NULL);
	page_row(f, "system", m->system, NULL);
	page_row(f, "date", m->date, NULL);
	page_row(f, "measured for", cell("%.1f s", r->measured_s), NULL);
	page_table_end(f);
}

/* ------------------------------------------------------------------ command */

static int
find_fingerprint(Report *r)
{
	uint8_t		digest[EMB_HASH_SIZE];
	EmbHash    *h = emb_hash_begin();
	bool		ok = h != NULL && emb_hash_update(h, r->m.image, r->m.size_bytes);

	if (h != NULL)
		ok &= emb_hash_end(h, digest);
	if (!ok)
	{
		fputs("embed-cli: could not compute a hash\n", stderr);
		return CLI_FAILED;
	}
	for (int i = 0; i < EMB_HASH_SIZE; i++)
		snprintf(r->fingerprint + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

static int
put_page(Report *r, FILE *f)
{
	char		title[320];
	int			code;

	snprintf(title, sizeof(title), "embed: %s", name_of(r));
	page_begin(f, title);
	put_conditions(r, f);
	put_model(r, f);
	put_speed(r, f);
	put_memory(r, f);
	code = put_accuracy(r, f);
	if (code == 0)
		code = put_check(r, f);
	put_machine(r, f);
	page_end(f);
	return code;
}

/* A new file: nobody's page is replaced. */
static int
write_new_file(const char *path, const char *page, size_t size)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	size_t		n = 0;
	ssize_t		written = 0;

	if (fd < 0)
	{
		fprintf(stderr, "embed-cli: could not create %s: %s\n", path, strerror(errno));
		return CLI_FAILED;
	}
	while (n < size && (written = write(fd, page + n, size - n)) > 0)
		n += written;
	if (close(fd) != 0 || n < size)
	{
		fprintf(stderr, "embed-cli: could not write %s: %s\n", path, strerror(errno));
		unlink(path);
		return CLI_FAILED;
	}
	return 0;
}

/* Before minutes of work. */
static int
check_output(const CliArgs *args)
{
	struct stat st;

	if (args->out == NULL && isatty(STDOUT_FILENO))
	{
		fputs("embed-cli: report writes a page to standard output; send it to a file, or name a new one with --out\n", stderr);
		return CLI_USAGE;
	}
	if (args->out != NULL && lstat(args->out, &st) == 0)
	{
		fprintf(stderr, "embed-cli: %s exists, and is not replaced; name a new file\n", args->out);
		return CLI_FAILED;
	}
	return 0;
}

static int
make_page(Report *r, char **page, size_t *size)
{
	FILE	   *f = open_memstream(page, size);
	EmbError	err;
	int			code;

	if (f == NULL)
	{
		fputs("embed-cli: out of memory\n", stderr);
		return CLI_FAILED;
	}
	code = emb_image_view(r->m.image, r->m.size_bytes, &r->view, &err) != EMB_OK ? cli_error(r->args->rest[0], &err) : find_fingerprint(r);
	if (code == 0)
		code = report_measure(r);
	if (code == 0)
		code = put_page(r, f);
	if ((ferror(f) | fclose(f)) != 0 && code == 0)
	{
		fputs("embed-cli: out of memory for the page\n", stderr);
		code = CLI_FAILED;
	}
	return code;
}

int
cli_report(const CliArgs *args)
{
	static Report r;			/* too large for a stack */
	char	   *page = NULL;
	size_t		size = 0;
	int			code = check_output(args);

	if (code != 0)
		return code;
	r.args = args;
	cli_machine_read(&r.machine);
	code = cli_model_open(args->rest[0], &args->import, &r.m);
	if (code != 0)
		return code;
	code = make_page(&r, &page, &size);
	if (code == 0 && args->out != NULL)
		code = write_new_file(args->out, page, size);
	else if (code == 0 && fwrite(page, 1, size, stdout) != size)
	{
		fprintf(stderr, "embed-cli: could not write the page: %s\n", strerror(errno));
		code = CLI_FAILED;
	}
	free(page);
	cli_model_close(&r.m);
	return code;
}
