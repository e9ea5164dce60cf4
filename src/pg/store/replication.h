/*
 * replication.h
 *		Models that come by logical replication: who may write rows here.
 */
#ifndef EMBED_PG_STORE_REPLICATION_H
#define EMBED_PG_STORE_REPLICATION_H

#include "pg/glue.h"

/* Whether a subscription of this database, enabled or not, carries a table of schema _embed. */
extern bool embed_is_subscriber(void);

/*
 * ERROR 55000 on such a subscriber: models, aliases and defaults belong to the
 * publisher, and local rows would collide with later rows of the publisher.
 * function as in "embed_drop()".
 */
extern void embed_check_no_subscriber(const char *function);

#endif
