/*
 * cli.h
 *		Shared by the files of embed-cli.
 *
 * A command returns the program's exit code: 0, CLI_FAILED (an error was
 * printed) or CLI_USAGE.
 */
#ifndef EMBED_CLI_H
#define EMBED_CLI_H

#include <stdio.h>

#include "model/embed_core.h"

#define CLI_FAILED	1
#define CLI_USAGE	2

typedef struct CliArgs
{
	int			n_rest;			/* arguments that are not options */
	char	  **rest;
	EmbImportOptions import;
	EmbPrompt	prompt;
	bool		hash;
	bool		pair;
	bool		count;
	bool		check;			/* pack: the image is checked before it is written */
	const char *model;			/* check: the image; NULL: made from the directory */
	int			tokens;			/* this and the next ones: 0: the command's own default */
	int			batch;
	int			threads;
	double		seconds;
	const char *out;			/* report: the file, which is not there yet; NULL: standard output */
} CliArgs;

/* An open model with its image: mapped from a file, or packed from a directory. */
typedef struct CliModel
{
	EmbAllocator mem;
	uint8_t    *image;
	size_t		size_bytes;
	bool		mapped;
	EmbModel   *model;
	const char *instruction;	/* of --instruction, for an image; a directory is packed with it */
} CliModel;

/* cli_model.c */
extern int	cli_error(const char *what, const EmbError *err);	/* prints; returns CLI_FAILED */
extern int	cli_model_open(const char *path, const EmbImportOptions *options, CliModel *m);
extern int	cli_model_import(const char *path, const EmbImportOptions *options, CliModel *m);	/* a directory or GGUF file, in memory */
extern void cli_model_close(CliModel *m);

/* Where max ids go; type_ids for a pair, else NULL. A query (and each pair has one) gets the instruction. */
extern EmbReading cli_reading(const CliModel *m, int32_t *ids, int32_t *type_ids, int32_t max, bool is_query);
extern int	cli_pack(const CliArgs *args);

/* Texts: the arguments from first on, or the lines of standard input for "-" or none. */
typedef struct CliTexts
{
	int			n;
	char	  **text;
	size_t	   *len;
} CliTexts;

extern int	cli_texts_read(const CliArgs *args, int first, CliTexts *texts);
extern int	cli_texts_read_file(FILE *f, CliTexts *texts);
extern void cli_texts_free(CliTexts *texts);

/* Vectors of all texts, [n, dim], released with the model's allocator. */
extern int	cli_embed_texts(const CliModel *m, EmbPrompt prompt, const CliTexts *texts, int threads, float **out);

/* Logits of all texts as documents for the query, likewise. */
extern int	cli_rerank_texts(const CliModel *m, const char *query, const CliTexts *texts, int threads, float **logits);

/* Prints at most max bytes of text in double quotes, and a newline. */
extern void cli_print_quoted(const char *label, const char *text, size_t len, size_t max);

/* cli_check.c */
extern int	cli_check(const CliArgs *args);

/* The last step of pack: the image m against the directory; reports to the file. */
extern int	cli_check_packed(const CliArgs *args, const CliModel *m, FILE *to);

/*
 * cli_time.c: calls of texts of n_tokens random tokens: vectors, scores, or the
 * outputs of a model that has neither; scratch from mem. A call that takes longer than seconds is made once; else at least
 * min_calls, after one that is not counted.
 */
typedef struct CliCalls
{
	int			n_tokens;		/* a text; at most the model's max_tokens */
	int			n_texts;		/* a call */
	int			n_threads;
	double		seconds;
	int			min_calls;
} CliCalls;

typedef struct CliTimes
{
	int			n_calls;
	double		median_s;
	double		least_s;
	double		most_s;
} CliTimes;

extern double cli_now(void);
extern int	cli_time_calls(const CliModel *m, const EmbAllocator *mem, const CliCalls *calls, CliTimes *times);
extern int	cli_time(const CliArgs *args);

/* cli_report.c */
extern int	cli_report(const CliArgs *args);

/* cli_commands.c */
extern int	cli_inspect(const CliArgs *args);
extern int	cli_tokenize(const CliArgs *args);
extern int	cli_embed(const CliArgs *args);
extern int	cli_rerank(const CliArgs *args);
extern int	cli_compare(const CliArgs *args);
extern int	cli_verify(const CliArgs *args);
extern int	cli_isa(const CliArgs *args);

#endif
