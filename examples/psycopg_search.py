"""Search by meaning with psycopg 3. PGHOST, PGPORT, PGUSER, PGDATABASE and so on as for psql.

The database has the extension embed with a default model; with embed_pgvector as well it searches
by pgvector's operator, which can use an index.
"""
from array import array

import psycopg

TEXTS = ["Refunds are paid within five days.", "The parcel was damaged on its way.", "Choose a new password in the settings."]


def create(db):
    db.execute("DROP SCHEMA IF EXISTS example_psycopg CASCADE")
    db.execute("CREATE SCHEMA example_psycopg")
    db.execute("CREATE TABLE example_psycopg.notes (id int PRIMARY KEY, body text)")
    # from now on each row has its vector, whoever writes it
    db.execute("SELECT embed_column('example_psycopg.notes', 'body')")


def insert(db, texts):
    with db.cursor() as cursor:
        cursor.executemany("INSERT INTO example_psycopg.notes (id, body) VALUES (%s, %s)", list(enumerate(texts)))


def search(db, query, limit=5):
    by_operator = db.execute("SELECT count(*) FROM pg_extension WHERE extname = 'embed_pgvector'").fetchone()[0]
    if by_operator:
        order = "embedding <=> embed_query(%s)"
    else:
        order = "embed_cosine(embedding, embed_query(%s)) DESC"
    rows = db.execute(f"SELECT id, body FROM example_psycopg.notes ORDER BY {order} LIMIT %s", (query, limit))
    return rows.fetchall()


def vectors_of(db, texts):
    # a list goes to embed_many: embed(%s) would take it for one text
    return db.execute("SELECT embed_many(%s)", (texts,)).fetchone()[0]


def main():
    with psycopg.connect() as db:
        create(db)
        insert(db, TEXTS)
        found = search(db, "I want my money back")
        print(*found, sep="\n")
        assert [row[0] for row in found][0] == 0, found

        vectors = vectors_of(db, TEXTS + [None])
        assert len(vectors) == 4 and isinstance(vectors[0][0], float)
        assert all(element is None for element in vectors[3]), "the row of a NULL text has only NULLs"
        # lists are sent as double precision[], which embed_cosine takes
        same = db.execute("SELECT embed_cosine(embed(%s), %s)", (TEXTS[0], vectors[0])).fetchone()[0]
        assert same > 0.99999, same
        # the binary protocol is shorter and has the same float4, of which text has the shortest decimals
        binary = db.execute("SELECT embed_many(%s)", (TEXTS,), binary=True).fetchone()[0]
        assert [array("f", v) for v in binary] == [array("f", v) for v in vectors[:3]]
        db.execute("DROP SCHEMA example_psycopg CASCADE")


main()
