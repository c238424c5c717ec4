"""Value objects of migrations: plans, type conversions, archived values."""
