"""Table definitions: system tables, business tables of domains and mirrored models; their DDL and creation."""
