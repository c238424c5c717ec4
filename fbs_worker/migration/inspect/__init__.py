"""Read the schema that a database has."""
