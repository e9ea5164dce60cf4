/*
 * json_edit.h
 *		JSON edited as JSON, by bytes of a fuzz target's input: what comes out is
 *		well-formed, so that the checks behind the parser are reached.
 */
#ifndef JSON_EDIT_H
#define JSON_EDIT_H

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Edits
{
	const uint8_t *data;
	size_t		left;
} Edits;

/* Zeros at the end. */
static inline uint8_t
next_byte(Edits *e)
{
	if (e->left == 0)
		return 0;
	e->left--;
	return *e->data++;
}

static inline json_t *
new_value(Edits *e)
{
	static const double reals[] = {0.5, -1.5, 1e308, 1e-320};
	static const json_int_t ints[] = {0, -1, 1, 2, 255, 65536, INT32_MAX, INT64_MAX, INT64_MIN, 4000000, 16, 3};
	static const char *const strings[] = {"", "BF16", "F16", "../x", "gelu", "<unk>", "[UNK]", "BertModel", "relu", "BPE", "\xF0\x9F\x98\x80", "WordPiece"};
	uint8_t		kind = next_byte(e);

	switch (kind & 7)
	{
		case 0:
			return json_null();
		case 1:
			return json_boolean(kind & 8);
		case 2:
			return json_real(reals[kind >> 3 & 3]);
		case 3:
			return json_integer(ints[(kind >> 3) % (sizeof(ints) / sizeof(ints[0]))]);
		case 4:
			return json_integer(next_byte(e));
		case 5:
			return json_string(strings[(kind >> 3) % (sizeof(strings) / sizeof(strings[0]))]);
		case 6:
			return json_array();
		default:
			return json_object();
	}
}

static inline const char *
key_at(const json_t *object, size_t i)
{
	void	   *iter = json_object_iter((json_t *) object);

	for (i %= json_object_size(object); i > 0; i--)
		iter = json_object_iter_next((json_t *) object, iter);
	return json_object_iter_key(iter);
}

/* One change of a member: the bytes say which one, how deep, and what becomes of it. */
static inline void
edit_json(json_t *root, Edits *e)
{
	json_t	   *at = root;
	uint8_t		depth = next_byte(e) & 7;

	for (;; depth--)
	{
		uint16_t	index = (uint16_t) (next_byte(e) | (json_object_size(at) + json_array_size(at) > 256 ? next_byte(e) << 8 : 0));
		json_t	   *child = NULL;
		uint8_t		op;

		if (json_object_size(at) > 0)
			child = json_object_get(at, key_at(at, index));
		else if (json_array_size(at) > 0)
			child = json_array_get(at, index % json_array_size(at));
		if (child != NULL && depth > 0 && json_object_size(child) + json_array_size(child) > 0)
		{
			at = child;
			continue;
		}
		op = next_byte(e);
		if (json_is_object(at))
		{
			if (child == NULL || (op & 3) == 3)
				json_object_set_new(at, (op & 4) != 0 ? "pad_token" : "a", child != NULL && (op & 8) != 0 ? json_deep_copy(child) : new_value(e));
			else if ((op & 3) == 0)
				json_object_del(at, key_at(at, index));
			else
			{
				char	   *key = strdup(key_at(at, index));

				json_object_set_new(at, key, new_value(e));
				free(key);
			}
		}
		else if (json_is_array(at))
		{
			if (child == NULL || (op & 3) == 3)
				json_array_append_new(at, child != NULL && (op & 8) != 0 ? json_deep_copy(child) : new_value(e));
			else if ((op & 3) == 0)
				json_array_remove(at, index % json_array_size(at));
			else
				json_array_set_new(at, index % json_array_size(at), new_value(e));
		}
		return;
	}
}

#endif
