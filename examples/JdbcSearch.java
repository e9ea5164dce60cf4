// Search by meaning with JDBC: java -cp postgresql.jar JdbcSearch.java (Java 17 or later).
// PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE as for psql, over TCP.
// The database has the extension embed with a default model.
import java.sql.*;
import java.util.*;

class JdbcSearch
{
	static final String[] TEXTS = {"Refunds are paid within five days.", "The parcel was damaged on its way.", "Choose a new password in the settings."};

	static String env(String name, String otherwise)
	{
		return System.getenv().getOrDefault(name, otherwise);
	}

	static Connection connect() throws SQLException
	{
		Properties properties = new Properties();
		properties.setProperty("user", env("PGUSER", System.getProperty("user.name")));
		properties.setProperty("password", env("PGPASSWORD", ""));
		return DriverManager.getConnection("jdbc:postgresql://" + env("PGHOST", "localhost") + ":" + env("PGPORT", "5432") + "/" + env("PGDATABASE", "postgres"), properties);
	}

	static List<String> search(Connection db, String query, int limit) throws SQLException
	{
		boolean byOperator;
		try (Statement s = db.createStatement(); ResultSet r = s.executeQuery("SELECT 1 FROM pg_extension WHERE extname = 'embed_pgvector'"))
		{
			byOperator = r.next();
		}
		String order = byOperator ? "embedding <=> embed_query(?)" : "embed_cosine(embedding, embed_query(?)) DESC";
		List<String> found = new ArrayList<>();
		try (PreparedStatement s = db.prepareStatement("SELECT body FROM example_jdbc.notes ORDER BY " + order + " LIMIT ?"))
		{
			s.setString(1, query);
			s.setInt(2, limit);
			try (ResultSet r = s.executeQuery())
			{
				while (r.next())
					found.add(r.getString(1));
			}
		}
		return found;
	}

	// Many texts are one parameter. A vector is Float[]; embed_many returns Float[][], NULL elements for a null text.
	static Float[][] vectorsOf(Connection db, String... texts) throws SQLException
	{
		try (PreparedStatement s = db.prepareStatement("SELECT embed_many(?)"))
		{
			s.setArray(1, db.createArrayOf("text", texts));
			try (ResultSet r = s.executeQuery())
			{
				r.next();
				return (Float[][]) r.getArray(1).getArray();
			}
		}
	}

	static void check(boolean ok, Object what)
	{
		if (!ok)
			throw new AssertionError(what);
	}

	public static void main(String[] args) throws SQLException
	{
		try (Connection db = connect(); Statement s = db.createStatement())
		{
			s.execute("DROP SCHEMA IF EXISTS example_jdbc CASCADE");
			s.execute("CREATE SCHEMA example_jdbc");
			s.execute("CREATE TABLE example_jdbc.notes (id int GENERATED ALWAYS AS IDENTITY, body text)");
			s.execute("SELECT embed_column('example_jdbc.notes', 'body')");
			try (PreparedStatement insert = db.prepareStatement("INSERT INTO example_jdbc.notes (body) SELECT unnest(?)"))
			{
				insert.setArray(1, db.createArrayOf("text", TEXTS));
				insert.executeUpdate();
			}
			List<String> found = search(db, "I want my money back", 5);
			System.out.println(found);
			check(found.get(0).equals(TEXTS[0]), found);

			Float[][] vectors = vectorsOf(db, TEXTS[0], null);
			check(vectors.length == 2 && vectors[0][0] != null && vectors[1][0] == null, vectors);
			try (PreparedStatement cosine = db.prepareStatement("SELECT embed_cosine(embed(?), ?)"))
			{
				cosine.setString(1, TEXTS[0]);
				cosine.setArray(2, db.createArrayOf("float8", Arrays.stream(vectors[0]).map(Double::valueOf).toArray()));
				try (ResultSet r = cosine.executeQuery())
				{
					check(r.next() && r.getFloat(1) > 0.99999f, "a list of double precision");
				}
			}
			s.execute("DROP SCHEMA example_jdbc CASCADE");
		}
	}
}
