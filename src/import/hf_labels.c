/*
 * hf_labels.c
 *		The labels of a classifier, and the label that is a reranker's score.
 */
#include "import/hf_family.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The meaning of such a label is that a document fits its query. */
static const char *const known[] = {"entailment", "relevant", "yes"};

/* "LABEL_1", the name that transformers gives to labels without one. */
static void
name_by_number(EmbHfLabels *labels, int32_t i)
{
	snprintf(labels->names[i], sizeof(labels->names[i]), "LABEL_%d", i);
}

static EmbStatus
take_name(const EmbJson *doc, const json_t *map, int32_t i, EmbHfLabels *labels, EmbError *err)
{
	char		key[16];
	const char *name;

	snprintf(key, sizeof(key), "%d", i);
	name = json_string_value(json_object_get(map, key));
	if (name == NULL)
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"id2label\" has %d entries, but none is a name for \"%s\"", doc->file, labels->n, key);
	if (strlen(name) >= sizeof(labels->names[i]))
		return emb_error(err, EMB_ERR_LIMIT, "%s: label %d of \"id2label\" has more than %zu bytes", doc->file, i, sizeof(labels->names[i]) - 1);
	strcpy(labels->names[i], name);
	return EMB_OK;
}

/* As transformers counts labels: the names' number, or "num_labels", or 2. */
EmbStatus
emb_hf_parse_labels(const EmbJson *doc, EmbHfLabels *labels, EmbError *err)
{
	const json_t *map = json_object_get(doc->root, "id2label");
	int64_t		n = 2;
	EmbStatus	status = emb_json_get_int(doc, doc->root, "num_labels", 0, INT32_MAX, &n, err);

	if (status != EMB_OK)
		return status;
	if (map != NULL && json_is_null(map))
		map = NULL;
	if (map != NULL && !json_is_object(map))
		return emb_error(err, EMB_ERR_FORMAT, "%s: \"id2label\" is not an object", doc->file);
	if (map != NULL)
		n = (int64_t) json_object_size(map);
	if (n < 1 || n > EMB_ARCH_MAX_LABELS)
	{
		emb_error(err, EMB_ERR_UNSUPPORTED, "%s: the classifier has %lld labels; 1 to %d can be imported", doc->file, (long long) n,
				  EMB_ARCH_MAX_LABELS);
		return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "A reranker's \"id2label\" has one entry, or a few of which one is its score.");
	}
	labels->n = (int32_t) n;
	for (int32_t i = 0; i < labels->n && status == EMB_OK; i++)
	{
		if (map != NULL)
			status = take_name(doc, map, i, labels, err);
		else
			name_by_number(labels, i);
	}
	return status;
}

static int32_t
find_label(const EmbHfLabels *labels, const char *name)
{
	for (int32_t i = 0; i < labels->n; i++)
	{
		if (strcasecmp(labels->names[i], name) == 0)
			return i;
	}
	return -1;
}

/* The label that a reranker's score is usually called; -1: none. */
static int32_t
find_known(const EmbHfLabels *labels)
{
	int32_t		found = -1;

	for (size_t i = 0; found < 0 && i < sizeof(known) / sizeof(known[0]); i++)
		found = find_label(labels, known[i]);
	if (found < 0 && labels->n == 2)
		found = find_label(labels, "LABEL_1");
	return found;
}

void
emb_hf_list_labels(const EmbHfLabels *labels, char *list, size_t size)
{
	size_t		at = 0;

	list[0] = '\0';
	for (int32_t i = 0; i < labels->n; i++)
	{
		const char *name = labels->names[i];

		if (at + strlen(name) + 8 > size)
		{
			snprintf(list + at, size - at, ", ..");
			return;
		}
		at += (size_t) snprintf(list + at, size - at, "%s%s", i > 0 ? ", " : "", name);
	}
}

/*
 * The label that the caller names, or the known one. n_outputs: those of the
 * classifier or of the last module, whose number the names may not have.
 */
EmbStatus
emb_hf_choose_label(EmbHfLabels *labels, int32_t n_outputs, const char *wanted, int32_t *label, EmbError *err)
{
	char		list[200];

	if (n_outputs > EMB_ARCH_MAX_LABELS)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "the model has %d scores; 1 to %d can be imported", n_outputs, EMB_ARCH_MAX_LABELS);
	if (labels->n != n_outputs)
	{
		labels->n = n_outputs;
		for (int32_t i = 0; i < n_outputs; i++)
			name_by_number(labels, i);
	}
	*label = wanted != NULL ? find_label(labels, wanted) : labels->n == 1 ? 0 : find_known(labels);
	if (*label >= 0)
		return EMB_OK;
	emb_hf_list_labels(labels, list, sizeof(list));
	if (wanted != NULL)
	{
		emb_error(err, EMB_ERR_INVALID_ARGUMENT, "the model has no label \"%.*s\"", emb_json_clip(wanted, 80), wanted);
		return emb_error_hint(err, EMB_ERR_INVALID_ARGUMENT, "Its labels are: %s.", list);
	}
	emb_error(err, EMB_ERR_UNSUPPORTED, "the classifier has %d labels, %s, and none is known to be the score of a reranker", labels->n, list);
	return emb_error_hint(err, EMB_ERR_UNSUPPORTED, "Set the option label to the one whose probability rerank() should return.");
}
