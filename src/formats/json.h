/*
 * json.h
 *		JSON files of untrusted origin, parsed by Jansson.
 *
 * Typed getters report the file and key at fault. An absent key and a JSON
 * null are equal: the default stays.
 *
 * Example:
 *
 *		EmbJson doc;
 *		status = emb_json_load(dir, "config.json", EMB_JSON_CONFIG_MAX, mem, stop, &doc, err);
 *		status = emb_json_get_int(&doc, doc.root, "hidden_size", 1, 65536, &hidden, err);
 *		emb_json_free(&doc);
 */
#ifndef EMB_FORMATS_JSON_H
#define EMB_FORMATS_JSON_H

#include <jansson.h>

#include "common/error.h"
#include "common/mem.h"

#define EMB_JSON_CONFIG_MAX		(4 * 1024 * 1024)	/* config.json and similar files */
#define EMB_JSON_TOKENIZER_MAX	(256 * 1024 * 1024)	/* tokenizer.json has 17 MB for 250,002 pieces */

typedef struct EmbJson
{
	json_t	   *root;			/* owned; NULL when absent */
	char		file[256];		/* for messages */
	bool		ints_are_reals; /* an integer did not fit: all numbers were read as reals */
	struct EmbJsonBlock *blocks;	/* owned: the memory of root; do not change or keep its values */
} EmbJson;

/*
 * Top level must be an object or array. Duplicate keys are an error. Integers
 * beyond 64 bits become reals (transformers writes model_max_length
 * 1000000000000000019884624838656 for "none").
 */
extern EmbStatus emb_json_parse(const char *name, const char *data, size_t size, EmbJson *doc, EmbError *err);

/* The same, with a poll of stop every 64 KiB. */
extern EmbStatus emb_json_parse_stoppable(const char *name, const char *data, size_t size, const EmbStop *stop,
										  EmbJson *doc, EmbError *err);
extern EmbStatus emb_json_load(const char *dir, const char *name, size_t max_bytes,
							   const EmbAllocator *mem, const EmbStop *stop, EmbJson *doc, EmbError *err);

/* As emb_json_load; for a missing file returns EMB_OK with root NULL. */
extern EmbStatus emb_json_load_optional(const char *dir, const char *name, size_t max_bytes,
										const EmbAllocator *mem, const EmbStop *stop, EmbJson *doc, EmbError *err);
extern void emb_json_free(EmbJson *doc);

extern EmbStatus emb_json_get_int(const EmbJson *doc, const json_t *obj, const char *key,
								  int64_t min, int64_t max, int64_t *value, EmbError *err);
extern EmbStatus emb_json_get_double(const EmbJson *doc, const json_t *obj, const char *key,
									 double min, double max, double *value, EmbError *err);
extern EmbStatus emb_json_get_bool(const EmbJson *doc, const json_t *obj, const char *key,
								   bool *value, EmbError *err);

/* Borrowed from the document, zero-terminated (U+0000 is refused at parse). */
extern EmbStatus emb_json_get_string(const EmbJson *doc, const json_t *obj, const char *key,
									 const char **value, EmbError *err);

/* Number of bytes of s to show in a message: at most max, ends at a character; for "%.*s". */
extern int	emb_json_clip(const char *s, int max);

#endif
