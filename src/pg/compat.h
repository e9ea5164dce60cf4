/*
 * compat.h
 *		Every difference between server versions, as a named capability.
 */
#ifndef EMBED_PG_COMPAT_H
#define EMBED_PG_COMPAT_H

#include "postgres.h"

#endif
