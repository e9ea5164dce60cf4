/*
 * embed_cli.c
 *		The core library from the command line.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char usage_text[] =
"embed-cli " EMBED_CORE_VERSION ": text embedding models without a server\n"
"\n"
"  embed-cli pack PATH > FILE             model directory or GGUF file -> image, for embed_load()\n"
"      --max-tokens N                     tokens per text, special ones included\n"
"      --query-prompt TEXT                instead of the model's own; \"\" for none\n"
"      --document-prompt TEXT\n"
"      --kind KIND                        \"embedding\", \"sparse\", \"multi\" or \"reranker\", where the files do not say it\n"
"      --label LABEL                      of a classifier with several: the one whose probability is the score\n"
"      --instruction TEXT                 of models that take one: the default; with an image, of this command\n"
"      --template JSON                    of a decoder that reranks: {\"prefix\", \"middle\", \"suffix\"}\n"
"      --pooling MODE                     cls, mean, max, mean_sqrt_len_tokens, weightedmean, lasttoken; several with +\n"
"      --layer-norm YESNO                 whether a layer norm comes before vectors are cut: yes or no\n"
"      --normalize YESNO                  whether vectors are divided by their norm: yes or no\n"
"      --name NAME                        what it will be called: tells prompts where files and directory do not\n"
"      --dimensions N                     of a vector: the first ones, normalized again\n"
"      --precision NAME                   int8 (default), fp32, int4\n"
"      --group N                          int4: inputs that share a scale: 32, 64, 128 (default), -1 for all;\n"
"                                     int8: -1 quantizes again what was quantized before\n"
"      --keep-int8 WHICH                  int4: attention, ends (first and last layer), all_but_down (all but the\n"
"                                     second product of the FFN), measured (by their errors) or none stay int8\n"
"      --keep-percent N                   measured: of the layers' weights, 1 to 99\n"
"      --check                            write the image only if \"check\" finds it right\n"
"  embed-cli inspect MODEL                what is in it, and its fingerprint\n"
"  embed-cli tokenize MODEL [TEXT...]     token ids, one line a text\n"
"      --query, --document                with that prompt in front\n"
"      --count                            number of tokens before truncation instead\n"
"      --pair                             two texts as one pair: ids, then type ids\n"
"  embed-cli embed MODEL [TEXT...]        vectors, one line a text, document prompt in front\n"
"      --query                            query prompt instead\n"
"      --hash                             sha256 of each vector's bytes instead\n"
"  embed-cli rerank MODEL QUERY [TEXT...] score and logit of each text as a document\n"
"  embed-cli compare MODEL MODEL [FILE]   cosines between the vectors of two models, worst texts\n"
"  embed-cli verify MODEL                 its reference texts: bits as at import? cosine to fp32\n"
"  embed-cli check DIR                    fp32 and int8 against an independent reference (needs OpenBLAS); pack's options apply\n"
"      --model IMAGE                      this image, made from DIR, instead\n"
"      --tokens N                         the longest text (the model's maximum, at most 8192)\n"
"  embed-cli time MODEL                   tokens per second\n"
"      --tokens N, --batch N              tokens a text (128), texts a call (16)\n"
"      --seconds S                        how long (3)\n"
"  embed-cli report MODEL > FILE          HTML page for a ticket: speed by length, memory, accuracy, model and machine\n"
"      --out FILE                         a new file instead of standard output\n"
"      --tokens N, --batch N              the longest text (512), most texts a call (16)\n"
"      --seconds S                        how long to measure in all (10)\n"
"      --check                            of a directory: with what \"check\" finds\n"
"  embed-cli isa                          instruction set levels of this CPU\n"
"\n"
"MODEL is an image or a directory (packed in memory first; pack's options apply).\n"
"Without TEXT, or with -, texts are the lines of standard input.\n"
"  --isa LEVEL   auto, scalar, avx2, ...: the level to compute with\n"
"  --threads N   to pack and to compute vectors with (1); report measures with 1 and N (all CPUs)\n"
"Exit code: 0, 1 after an error, 2 for wrong usage.\n";

static const struct
{
	const char *name;
	int			(*run) (const CliArgs *args);
	int			min_args,
				max_args;
}			commands[] =
{
	{"pack", cli_pack, 1, 1},
	{"inspect", cli_inspect, 1, 1},
	{"tokenize", cli_tokenize, 1, INT_MAX},
	{"embed", cli_embed, 1, INT_MAX},
	{"rerank", cli_rerank, 2, INT_MAX},
	{"compare", cli_compare, 2, 3},
	{"verify", cli_verify, 1, 1},
	{"check", cli_check, 1, 1},
	{"time", cli_time, 1, 1},
	{"report", cli_report, 1, 1},
	{"isa", cli_isa, 0, 0},
};

enum
{
	OPT_MAX_TOKENS = 256, OPT_KIND, OPT_LABEL, OPT_INSTRUCTION, OPT_TEMPLATE, OPT_POOLING, OPT_NORMALIZE, OPT_LAYER_NORM, OPT_QUERY_PROMPT, OPT_DOCUMENT_PROMPT, OPT_NAME, OPT_DIMENSIONS, OPT_PRECISION,
	OPT_GROUP, OPT_KEEP_INT8, OPT_KEEP_PERCENT,
	OPT_QUERY, OPT_DOCUMENT, OPT_COUNT, OPT_PAIR, OPT_HASH, OPT_CHECK, OPT_MODEL, OPT_OUT,
	OPT_TOKENS, OPT_BATCH, OPT_SECONDS, OPT_THREADS, OPT_ISA, OPT_HELP, OPT_VERSION
};

static const struct option options[] = {
	{"max-tokens", required_argument, NULL, OPT_MAX_TOKENS},
	{"kind", required_argument, NULL, OPT_KIND},
	{"label", required_argument, NULL, OPT_LABEL},
	{"instruction", required_argument, NULL, OPT_INSTRUCTION},
	{"template", required_argument, NULL, OPT_TEMPLATE},
	{"pooling", required_argument, NULL, OPT_POOLING},
	{"normalize", required_argument, NULL, OPT_NORMALIZE},
	{"layer-norm", required_argument, NULL, OPT_LAYER_NORM},
	{"query-prompt", required_argument, NULL, OPT_QUERY_PROMPT},
	{"document-prompt", required_argument, NULL, OPT_DOCUMENT_PROMPT},
	{"name", required_argument, NULL, OPT_NAME},
	{"dimensions", required_argument, NULL, OPT_DIMENSIONS},
	{"precision", required_argument, NULL, OPT_PRECISION},
	{"group", required_argument, NULL, OPT_GROUP},
	{"keep-int8", required_argument, NULL, OPT_KEEP_INT8},
	{"keep-percent", required_argument, NULL, OPT_KEEP_PERCENT},
	{"query", no_argument, NULL, OPT_QUERY},
	{"document", no_argument, NULL, OPT_DOCUMENT},
	{"count", no_argument, NULL, OPT_COUNT},
	{"pair", no_argument, NULL, OPT_PAIR},
	{"hash", no_argument, NULL, OPT_HASH},
	{"check", no_argument, NULL, OPT_CHECK},
	{"model", required_argument, NULL, OPT_MODEL},
	{"out", required_argument, NULL, OPT_OUT},
	{"tokens", required_argument, NULL, OPT_TOKENS},
	{"batch", required_argument, NULL, OPT_BATCH},
	{"seconds", required_argument, NULL, OPT_SECONDS},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"isa", required_argument, NULL, OPT_ISA},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0}
};

static bool
parse_count(const char *text, int *value)
{
	char	   *end;
	long		n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < 1 || n > 1000000)
		return false;
	*value = (int) n;
	return true;
}

static bool
parse_seconds(const char *text, double *value)
{
	char	   *end;

	*value = strtod(text, &end);
	return end != text && *end == '\0' && *value > 0 && *value <= 3600;
}

/* -1: go on; else the exit code. */
static int
apply_option(int opt, char *value, CliArgs *args)
{
	bool		ok = true;
	int			n;
	EmbError	err;

	switch (opt)
	{
		case OPT_MAX_TOKENS:
			ok = parse_count(value, &n);
			args->import.max_tokens = ok ? n : 0;
			break;
		case OPT_QUERY_PROMPT:
			args->import.query_prompt = value;
			break;
		case OPT_DOCUMENT_PROMPT:
			args->import.document_prompt = value;
			break;
		case OPT_LABEL:
			args->import.label = value;
			break;
		case OPT_KIND:
			args->import.kind = value;
			break;
		case OPT_INSTRUCTION:
			args->import.instruction = value;
			break;
		case OPT_TEMPLATE:
			args->import.template = value;
			break;
		case OPT_POOLING:
			args->import.pooling = value;
			break;
		case OPT_LAYER_NORM:
			args->import.sets_layer_norm = true;
			args->import.layer_norm = strcmp(value, "yes") == 0;
			ok = args->import.layer_norm || strcmp(value, "no") == 0;
			break;
		case OPT_NORMALIZE:
			args->import.sets_normalize = true;
			args->import.normalize = strcmp(value, "yes") == 0;
			ok = args->import.normalize || strcmp(value, "no") == 0;
			break;
		case OPT_NAME:
			args->import.name = value;
			break;
		case OPT_DIMENSIONS:
			ok = parse_count(value, &n);
			args->import.dimensions = ok ? n : 0;
			break;
		case OPT_PRECISION:
			args->import.precision = value;
			break;
		case OPT_GROUP:
			args->import.group = EMB_GROUP_ROW;
			ok = strcmp(value, "-1") == 0 || parse_count(value, &n);
			if (strcmp(value, "-1") != 0)
				args->import.group = ok ? n : 0;
			break;
		case OPT_KEEP_INT8:
			args->import.keep_int8 = value;
			break;
		case OPT_KEEP_PERCENT:
			ok = parse_count(value, &n);
			args->import.keep_percent = ok ? n : 0;
			break;
		case OPT_QUERY:
			args->prompt = EMB_PROMPT_QUERY;
			break;
		case OPT_DOCUMENT:
			args->prompt = EMB_PROMPT_DOCUMENT;
			break;
		case OPT_COUNT:
			args->count = true;
			break;
		case OPT_PAIR:
			args->pair = true;
			break;
		case OPT_HASH:
			args->hash = true;
			break;
		case OPT_CHECK:
			args->check = true;
			break;
		case OPT_MODEL:
			args->model = value;
			break;
		case OPT_OUT:
			args->out = value;
			break;
		case OPT_TOKENS:
			ok = parse_count(value, &args->tokens);
			break;
		case OPT_BATCH:
			ok = parse_count(value, &args->batch);
			break;
		case OPT_SECONDS:
			ok = parse_seconds(value, &args->seconds);
			break;
		case OPT_THREADS:
			ok = parse_count(value, &args->threads);
			args->import.n_threads = args->threads;
			break;
		case OPT_ISA:
			if (emb_isa_select(value, &err) != EMB_OK)
				return cli_error("--isa", &err) + (emb_isa_is_known(value) ? 0 : CLI_USAGE - CLI_FAILED);
			break;
		case OPT_HELP:
			fputs(usage_text, stdout);
			return 0;
		case OPT_VERSION:
			puts("embed-cli " EMBED_CORE_VERSION);
			return 0;
		default:
			fputs("embed-cli --help lists commands and options\n", stderr);
			return CLI_USAGE;
	}
	if (!ok)
	{
		fprintf(stderr, "embed-cli: \"%s\" is not a value for this option\n", value);
		return CLI_USAGE;
	}
	return -1;
}

static int
run_command(const char *name, const CliArgs *args)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
	{
		if (strcmp(commands[i].name, name) != 0)
			continue;
		if (args->n_rest < commands[i].min_args || args->n_rest > commands[i].max_args)
		{
			fprintf(stderr, "embed-cli: wrong number of arguments for %s; see embed-cli --help\n", name);
			return CLI_USAGE;
		}
		return commands[i].run(args);
	}
	fprintf(stderr, "embed-cli: there is no command \"%s\"; see embed-cli --help\n", name);
	return CLI_USAGE;
}

int
main(int argc, char **argv)
{
	CliArgs		args = {.prompt = EMB_PROMPT_NONE};
	int			opt;
	int			code;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		code = apply_option(opt, optarg, &args);
		if (code >= 0)
			return code;
	}
	if (optind == argc)
	{
		fputs(usage_text, stderr);
		return CLI_USAGE;
	}
	args.n_rest = argc - optind - 1;
	args.rest = argv + optind + 1;
	code = run_command(argv[optind], &args);
	if (fflush(stdout) != 0 || ferror(stdout))
	{
		fprintf(stderr, "embed-cli: could not write: %s\n", strerror(errno));
		return CLI_FAILED;
	}
	return code;
}
