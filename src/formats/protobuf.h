/*
 * protobuf.h
 *		The wire format of protocol buffers, one field at a time, from
 *		untrusted bytes (protobuf.dev/programming-guides/encoding).
 *
 * Example:
 *
 *		EmbProto m = {data, data + size, false};
 *		EmbProtoField f;
 *		while (emb_proto_next(&m, &f))
 *			if (f.number == 1 && f.wire == EMB_PROTO_BYTES)
 *				take(f.data, f.size);
 *		if (m.bad)
 *			refuse();
 */
#ifndef EMB_FORMATS_PROTOBUF_H
#define EMB_FORMATS_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMB_PROTO_VARINT	0
#define EMB_PROTO_FIXED64	1
#define EMB_PROTO_BYTES		2	/* strings, bytes, messages */
#define EMB_PROTO_FIXED32	5

typedef struct EmbProto
{
	const uint8_t *p;			/* the unread bytes */
	const uint8_t *end;
	bool		bad;			/* the bytes at p are not a field */
} EmbProto;

typedef struct EmbProtoField
{
	uint32_t	number;
	uint32_t	wire;			/* one of EMB_PROTO_ */
	uint64_t	value;			/* for a varint or fixed field */
	const uint8_t *data;		/* of BYTES: [size], inside the message */
	size_t		size;
} EmbProtoField;

/*
 * Reads the next field of a message. False: the end, or malformed with m->bad
 * (groups count as malformed).
 */
extern bool emb_proto_next(EmbProto *m, EmbProtoField *field);

/* The float in a FIXED32 field. */
extern float emb_proto_float(const EmbProtoField *field);

#endif
