"""Search by meaning with SQLAlchemy 2 (and pgvector, where the database has embed_pgvector).

PGHOST, PGPORT, PGUSER, PGDATABASE and so on as for psql; the database has embed with a default model.
"""
from sqlalchemy import ARRAY, REAL, FetchedValue, Text, create_engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

TEXTS = ["Refunds are paid within five days.", "The parcel was damaged on its way.", "Choose a new password in the settings."]
engine = create_engine("postgresql+psycopg://")
with engine.connect() as connection:
    BY_OPERATOR = connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'embed_pgvector'")) > 0
if BY_OPERATOR:
    from pgvector.sqlalchemy import VECTOR as Vector
else:
    Vector = ARRAY(REAL)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    __table_args__ = {"schema": "example_sqlalchemy"}
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    # the database writes it: SQLAlchemy reads it again after each INSERT and UPDATE
    embedding = mapped_column(Vector, FetchedValue(), server_onupdate=FetchedValue())


def search(session, query, limit=5):
    if BY_OPERATOR:
        distance = Note.embedding.op("<=>")(func.embed_query(query))
    else:
        distance = -func.embed_cosine(Note.embedding, func.embed_query(query))
    return session.scalars(select(Note).order_by(distance).limit(limit)).all()


def main():
    with Session(engine) as session:
        session.execute(text("DROP SCHEMA IF EXISTS example_sqlalchemy CASCADE"))
        session.execute(text("CREATE SCHEMA example_sqlalchemy"))
        session.execute(text("CREATE TABLE example_sqlalchemy.notes (id int PRIMARY KEY, body text)"))
        session.execute(text("SELECT embed_column('example_sqlalchemy.notes', 'body')"))
        session.add_all(Note(id=i, body=body) for i, body in enumerate(TEXTS))
        session.commit()

        found = search(session, "I want my money back")
        print(*(note.body for note in found), sep="\n")
        assert found[0].id == 0
        before = list(found[0].embedding)
        found[0].body = "Invoices come by mail."
        session.commit()
        assert list(found[0].embedding) != before, "the vector is that of the new text"

        # many texts are one parameter: a list goes to embed_many
        vectors = session.scalar(select(func.embed_many(TEXTS)))
        assert len(vectors) == 3
        session.execute(text("DROP SCHEMA example_sqlalchemy CASCADE"))
        session.commit()


main()
