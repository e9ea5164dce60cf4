/*
 * opened_model.h
 *		A model that a test imports and opens, one at a time, and the lines of
 *		its reference texts.
 */
#ifndef EMB_TEST_OPENED_MODEL_H
#define EMB_TEST_OPENED_MODEL_H

#include "model_util.h"

#include <jansson.h>

#include "model/model.h"

#define MAX_TEXTS	64

static EmbAllocator heap;		/* set by main */
static Image image;
static EmbModel *model;
static const EmbModelInfo *info;

static int	n_texts;
static json_t *inputs[MAX_TEXTS];	/* lines of inputs.jsonl */

/* Whether it is open. message: in the error or its hint, or NULL. */
UNUSED static bool
open_model(const char *dir, const EmbImportOptions *options, EmbStatus want, const char *message)
{
	EmbError	err = {0};
	EmbStatus	status = import_image(dir, options, &heap, &image, &err);

	CHECKF(status == want && (message == NULL || strstr(err.message, message) != NULL || strstr(err.hint, message) != NULL),
		   "%s: %d \"%s\" (%s)", dir, status, err.message, err.hint);
	if (status != EMB_OK)
		return false;
	if (!CHECKF(emb_model_open(image.data, image.size_bytes, EMB_OPEN_CHECK_ALL, &heap, NULL, &model, &err) == EMB_OK,
				"%s", err.message))
		exit(1);
	info = emb_model_info(model);
	return true;
}

static void
close_model(void)
{
	emb_model_close(model);
	free(image.data);
	image.data = NULL;
}

/* The caller frees inputs. */
static void
load_texts(const char *dir)
{
	char		path[1100];
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		n;
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/inputs.jsonl", dir);
	f = fopen(path, "r");
	n_texts = 0;
	while (f != NULL && n_texts < MAX_TEXTS && (n = getline(&line, &room, f)) > 0)
		inputs[n_texts++] = json_loadb(line, n, 0, NULL);
	free(line);
	if (f != NULL)
		fclose(f);
	CHECKF(n_texts >= 10, "%s: %d texts", path, n_texts);
}

#endif
