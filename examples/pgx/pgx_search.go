// Search by meaning with pgx 5. PGHOST, PGPORT, PGUSER, PGDATABASE and so on as for psql.
// The database has the extension embed with a default model.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"
)

var texts = []string{"Refunds are paid within five days.", "The parcel was damaged on its way.", "Choose a new password in the settings."}

func create(ctx context.Context, db *pgx.Conn) error {
	_, err := db.Exec(ctx, `DROP SCHEMA IF EXISTS example_pgx CASCADE; CREATE SCHEMA example_pgx;
		CREATE TABLE example_pgx.notes (id int GENERATED ALWAYS AS IDENTITY, body text);
		SELECT embed_column('example_pgx.notes', 'body')`)
	return err
}

func search(ctx context.Context, db *pgx.Conn, query string, limit int) ([]string, error) {
	var byOperator bool
	if err := db.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_extension WHERE extname = 'embed_pgvector'").Scan(&byOperator); err != nil {
		return nil, err
	}
	order := "embed_cosine(embedding, embed_query($1)) DESC"
	if byOperator {
		order = "embedding <=> embed_query($1)"
	}
	rows, err := db.Query(ctx, "SELECT body FROM example_pgx.notes ORDER BY "+order+" LIMIT $2", query, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// pgx asks for parameters' types, so embed_many is the one that takes a slice.
func vectorsOf(ctx context.Context, db *pgx.Conn, texts []*string) (vectors [][]*float32, err error) {
	err = db.QueryRow(ctx, "SELECT embed_many($1)", texts).Scan(&vectors)
	return vectors, err
}

func run(ctx context.Context) error {
	db, err := pgx.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if err = create(ctx, db); err != nil {
		return err
	}
	if _, err = db.Exec(ctx, "INSERT INTO example_pgx.notes (body) SELECT unnest($1::text[])", texts); err != nil {
		return err
	}
	found, err := search(ctx, db, "I want my money back", 5)
	if err != nil {
		return err
	}
	fmt.Println(found)
	if len(found) != 3 || found[0] != texts[0] {
		return fmt.Errorf("found %v", found)
	}

	// binary float4: a pointer for each element, because the row of a NULL text has only NULLs
	vectors, err := vectorsOf(ctx, db, []*string{&texts[0], nil})
	if err != nil {
		return err
	}
	if len(vectors) != 2 || vectors[0][0] == nil || vectors[1][0] != nil {
		return fmt.Errorf("vectors %v", vectors)
	}
	var same float32
	if err = db.QueryRow(ctx, "SELECT embed_cosine(embed($1), $2)", texts[0], vectors[0]).Scan(&same); err != nil {
		return err
	}
	if same < 0.99999 {
		return fmt.Errorf("cosine %v", same)
	}
	_, err = db.Exec(ctx, "DROP SCHEMA example_pgx CASCADE")
	return err
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
