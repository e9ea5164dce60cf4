/*
 * hash.c
 *		SHA-256 of libcrypto, which a PostgreSQL server has already loaded.
 */
#include "common/hash.h"

#include <openssl/evp.h>

EmbHash *
emb_hash_begin(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
	{
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	return (EmbHash *) ctx;
}

bool
emb_hash_update(EmbHash *h, const void *data, size_t size)
{
	return EVP_DigestUpdate((EVP_MD_CTX *) h, data, size) == 1;
}

bool
emb_hash_end(EmbHash *h, uint8_t digest[EMB_HASH_SIZE])
{
	bool		ok = true;

	if (h == NULL)
		return false;
	if (digest != NULL)
		ok = EVP_DigestFinal_ex((EVP_MD_CTX *) h, digest, NULL) == 1;
	EVP_MD_CTX_free((EVP_MD_CTX *) h);
	return ok;
}
