"""LlamaIndex on embed: vectors and search come from the database, no model runs in Python.

PGHOST, PGPORT, PGUSER, PGDATABASE and so on as for psql; the database has embed with a default model.
"""
import psycopg
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode

TEXTS = ["Refunds are paid within five days.", "The parcel was damaged on its way.", "Choose a new password in the settings."]


class DatabaseEmbedding(BaseEmbedding):
    """For any index of LlamaIndex: texts go to the database, vectors come back."""
    _db = PrivateAttr()

    def __init__(self, db, **options):
        super().__init__(model_name="embed", **options)
        self._db = db

    def _get_text_embeddings(self, texts):
        return self._db.execute("SELECT embed_many(%s)", (texts,)).fetchone()[0]

    def _get_text_embedding(self, text):
        return self._db.execute("SELECT embed(%s)", (text,)).fetchone()[0]

    def _get_query_embedding(self, query):
        return self._db.execute("SELECT embed_query(%s)", (query,)).fetchone()[0]

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)


class DatabaseRetriever(BaseRetriever):
    """Embeds the query and searches in one statement; only the nodes are sent."""

    def __init__(self, db, k=5):
        super().__init__()
        self._db, self._k = db, k

    def _retrieve(self, query_bundle):
        rows = self._db.execute(
            """SELECT id, body, embed_cosine(embedding, embed_query(%(query)s)) AS score
               FROM example_llamaindex.notes ORDER BY score DESC LIMIT %(k)s""",
            {"query": query_bundle.query_str, "k": self._k})
        return [NodeWithScore(node=TextNode(id_=str(id), text=body), score=score) for id, body, score in rows]


def main():
    with psycopg.connect() as db:
        db.execute("DROP SCHEMA IF EXISTS example_llamaindex CASCADE")
        db.execute("CREATE SCHEMA example_llamaindex")
        db.execute("CREATE TABLE example_llamaindex.notes (id int PRIMARY KEY, body text)")
        db.execute("SELECT embed_column('example_llamaindex.notes', 'body')")
        with db.cursor() as cursor:
            cursor.executemany("INSERT INTO example_llamaindex.notes (id, body) VALUES (%s, %s)", list(enumerate(TEXTS)))

        found = DatabaseRetriever(db, k=2).retrieve("I want my money back")
        print(*found, sep="\n")
        assert len(found) == 2 and found[0].node.get_content() == TEXTS[0]

        index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=DatabaseEmbedding(db))
        assert index.as_retriever(similarity_top_k=1).retrieve("I want my money back")[0].node.get_content() == TEXTS[0]
        db.execute("DROP SCHEMA example_llamaindex CASCADE")


main()
