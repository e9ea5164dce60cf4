/*
 * hash.h
 *		SHA-256 (FIPS 180-4), the fingerprint of an image; libcrypto's.
 *
 * Example:
 *
 *		EmbHash *h = emb_hash_begin();			// NULL: out of memory
 *		emb_hash_update(h, data, size);
 *		emb_hash_end(h, digest);				// frees h; digest may be NULL
 */
#ifndef EMB_COMMON_HASH_H
#define EMB_COMMON_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMB_HASH_SIZE 32

typedef struct EmbHash EmbHash;

extern EmbHash *emb_hash_begin(void);
extern bool emb_hash_update(EmbHash *h, const void *data, size_t size);
extern bool emb_hash_end(EmbHash *h, uint8_t digest[EMB_HASH_SIZE]);

#endif
