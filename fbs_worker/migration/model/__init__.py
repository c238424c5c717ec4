"""Value objects of migrations: table schemas, plans, type conversions, archived values."""
