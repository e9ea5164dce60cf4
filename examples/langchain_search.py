"""LangChain on embed: vectors and search come from the database, no model runs in Python.

PGHOST, PGPORT, PGUSER, PGDATABASE and so on as for psql; the database has embed with a default model.
"""
import psycopg
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from psycopg.rows import dict_row

TEXTS = ["Refunds are paid within five days.", "The parcel was damaged on its way.", "Choose a new password in the settings."]


class DatabaseEmbeddings(Embeddings):
    """For any vector store of LangChain: texts go to the database, vectors come back."""

    def __init__(self, db):
        self.db = db

    def embed_documents(self, texts):
        if not texts:
            return []
        return self.db.execute("SELECT embed_many(%s)", (texts,)).fetchone()[0]

    def embed_query(self, text):
        return self.db.execute("SELECT embed_query(%s)", (text,)).fetchone()[0]


class DatabaseRetriever(BaseRetriever):
    """Embeds the query and searches in one statement; only the documents are sent."""
    db: object
    k: int = 5

    def _get_relevant_documents(self, query, *, run_manager):
        rows = self.db.cursor(row_factory=dict_row).execute(
            """SELECT id, body, embed_cosine(embedding, embed_query(%(query)s)) AS score
               FROM example_langchain.notes ORDER BY score DESC LIMIT %(k)s""", {"query": query, "k": self.k})
        return [Document(page_content=row["body"], metadata={"id": row["id"], "score": row["score"]}) for row in rows]


def main():
    with psycopg.connect() as db:
        db.execute("DROP SCHEMA IF EXISTS example_langchain CASCADE")
        db.execute("CREATE SCHEMA example_langchain")
        db.execute("CREATE TABLE example_langchain.notes (id int PRIMARY KEY, body text)")
        db.execute("SELECT embed_column('example_langchain.notes', 'body')")
        with db.cursor() as cursor:
            cursor.executemany("INSERT INTO example_langchain.notes (id, body) VALUES (%s, %s)", list(enumerate(TEXTS)))

        found = DatabaseRetriever(db=db, k=2).invoke("I want my money back")
        print(*found, sep="\n")
        assert len(found) == 2 and found[0].page_content == TEXTS[0]

        store = InMemoryVectorStore.from_texts(TEXTS, DatabaseEmbeddings(db))
        assert store.similarity_search("I want my money back", k=1)[0].page_content == TEXTS[0]
        db.execute("DROP SCHEMA example_langchain CASCADE")


main()
