/*
 * gguf_values.c
 *		The values of a GGUF file's keys.
 */
#include "formats/gguf_parts.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

const EmbGgufKey *
emb_gguf_find_key(const EmbGguf *gguf, const char *name)
{
	const EmbGgufShard *shard = &gguf->shards[0];
	int			low = 0;
	int			high = shard->n_keys;

	while (low < high)
	{
		int			mid = low + (high - low) / 2;
		int			cmp = strcmp(name, shard->keys[mid].name);

		if (cmp == 0)
			return &shard->keys[mid];
		if (cmp < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static EmbStatus
wrong_type(const EmbGguf *gguf, const EmbGgufKey *key, const char *want, EmbError *err)
{
	return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%.*s\" is %s%s, not %s", gguf->shards[0].file.path, EMB_GGUF_SHOW(key->name),
					 key->is_array ? "an array of " : "", emb_gguf_type_name(key->type), want);
}

static bool
is_int(EmbGgufType type)
{
	return type != EMB_GGUF_F32 && type != EMB_GGUF_F64 && type != EMB_GGUF_BOOL && emb_gguf_type_bytes(type) > 0;
}

static bool
is_signed(EmbGgufType type)
{
	return type == EMB_GGUF_I8 || type == EMB_GGUF_I16 || type == EMB_GGUF_I32 || type == EMB_GGUF_I64;
}

/* A u64 beyond the largest int64 becomes that. */
int64_t
emb_gguf_int_at(const EmbGgufKey *key, int64_t i)
{
	int			size = emb_gguf_type_bytes(key->type);
	uint64_t	bits = emb_gguf_uint(key->data + i * size, size);

	if (is_signed(key->type))
	{
		uint64_t	sign = (uint64_t) 1 << (8 * size - 1);

		return (int64_t) ((bits ^ sign) - sign);
	}
	return bits <= INT64_MAX ? (int64_t) bits : INT64_MAX;
}

double
emb_gguf_double_at(const EmbGgufKey *key, int64_t i)
{
	int			size = emb_gguf_type_bytes(key->type);
	uint64_t	bits = emb_gguf_uint(key->data + i * size, size);
	uint32_t	bits32 = (uint32_t) bits;
	float		single;
	double		value;

	if (key->type == EMB_GGUF_F64)
	{
		memcpy(&value, &bits, sizeof(value));
		return value;
	}
	if (key->type != EMB_GGUF_F32)
		return (double) emb_gguf_int_at(key, i);
	memcpy(&single, &bits32, sizeof(single));
	return single;
}

EmbStatus
emb_gguf_get_int(const EmbGguf *gguf, const char *name, int64_t min, int64_t max, int64_t *value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);
	int64_t		found;

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || !is_int(key->type))
		return wrong_type(gguf, key, "an integer", err);
	found = emb_gguf_int_at(key, 0);
	if (found < min || found > max)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is %lld, outside %lld..%lld", gguf->shards[0].file.path, name,
						 (long long) found, (long long) min, (long long) max);
	*value = found;
	return EMB_OK;
}

EmbStatus
emb_gguf_get_double(const EmbGguf *gguf, const char *name, double min, double max, double *value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);
	double		found;

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || key->type == EMB_GGUF_BOOL || emb_gguf_type_bytes(key->type) == 0)
		return wrong_type(gguf, key, "a number", err);
	found = emb_gguf_double_at(key, 0);
	if (!(found >= min && found <= max))
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is %g, outside %g..%g", gguf->shards[0].file.path, name, found, min, max);
	*value = found;
	return EMB_OK;
}

EmbStatus
emb_gguf_get_bool(const EmbGguf *gguf, const char *name, bool *value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || key->type != EMB_GGUF_BOOL)
		return wrong_type(gguf, key, "a bool", err);
	if (key->data[0] > 1)
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is %d, neither false nor true", gguf->shards[0].file.path, name, key->data[0]);
	*value = key->data[0] == 1;
	return EMB_OK;
}

EmbStatus
emb_gguf_get_string(const EmbGguf *gguf, const char *name, const char **value, EmbError *err)
{
	const EmbGgufKey *key = emb_gguf_find_key(gguf, name);

	if (key == NULL)
		return EMB_OK;
	if (key->is_array || key->type != EMB_GGUF_STRING)
		return wrong_type(gguf, key, "a string", err);
	if (!emb_utf8_is_text((const uint8_t *) emb_gguf_string_text(key->data), emb_gguf_string_bytes(key->data)))
		return emb_error(err, EMB_ERR_FORMAT, "file \"%s\": key \"%s\" is not UTF-8", gguf->shards[0].file.path, name);
	*value = emb_gguf_string_text(key->data);
	return EMB_OK;
}

EmbStatus
emb_gguf_get_array(const EmbGguf *gguf, const char *name, EmbGgufType type, const EmbGgufKey **key, EmbError *err)
{
	char		want[32];

	*key = emb_gguf_find_key(gguf, name);
	if (*key == NULL || ((*key)->is_array && (*key)->type == type))
		return EMB_OK;
	snprintf(want, sizeof(want), "an array of %s", emb_gguf_type_name(type));
	return wrong_type(gguf, *key, want, err);
}

const char *
emb_gguf_next_string(const EmbGgufKey *key, const uint8_t **at, size_t *len)
{
	const uint8_t *p = *at != NULL ? *at : key->data;

	*len = emb_gguf_string_bytes(p);
	*at = p + 8 + *len;
	return emb_gguf_string_text(p);
}
