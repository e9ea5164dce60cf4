/*
 * protobuf.c
 *		Reads fields of a message from untrusted bytes.
 */
#include "formats/protobuf.h"

#include <string.h>

/* Reads at most 10 bytes, and refuses bits beyond the 64th. */
static bool
read_varint(EmbProto *m, uint64_t *value)
{
	const uint8_t *p = m->p;

	*value = 0;
	for (int shift = 0; shift < 64 && p < m->end; shift += 7)
	{
		uint64_t	bits = *p & 0x7F;

		if (shift == 63 && bits > 1)
			return false;
		*value |= bits << shift;
		if ((*p++ & 0x80) == 0)
		{
			m->p = p;
			return true;
		}
	}
	return false;
}

/* Little endian. */
static bool
read_fixed(EmbProto *m, size_t size, uint64_t *value)
{
	if ((size_t) (m->end - m->p) < size)
		return false;
	*value = 0;
	for (size_t i = 0; i < size; i++)
		*value |= (uint64_t) m->p[i] << (8 * i);
	m->p += size;
	return true;
}

static bool
read_bytes(EmbProto *m, EmbProtoField *field)
{
	uint64_t	size;

	if (!read_varint(m, &size) || size > (uint64_t) (m->end - m->p))
		return false;
	field->data = m->p;
	field->size = (size_t) size;
	m->p += size;
	return true;
}

static bool
read_field(EmbProto *m, EmbProtoField *field)
{
	uint64_t	tag;

	memset(field, 0, sizeof(*field));
	if (!read_varint(m, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
		return false;
	field->number = (uint32_t) (tag >> 3);
	field->wire = (uint32_t) (tag & 7);
	switch (field->wire)
	{
		case EMB_PROTO_VARINT:
			return read_varint(m, &field->value);
		case EMB_PROTO_FIXED64:
			return read_fixed(m, 8, &field->value);
		case EMB_PROTO_FIXED32:
			return read_fixed(m, 4, &field->value);
		case EMB_PROTO_BYTES:
			return read_bytes(m, field);
		default:
			return false;
	}
}

bool
emb_proto_next(EmbProto *m, EmbProtoField *field)
{
	const uint8_t *start = m->p;

	if (m->bad || m->p == m->end)
		return false;
	m->bad = !read_field(m, field);
	if (m->bad)
		m->p = start;
	return !m->bad;
}

float
emb_proto_float(const EmbProtoField *field)
{
	uint32_t	bits = (uint32_t) field->value;
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}
