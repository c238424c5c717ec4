"""Building blocks without knowledge of jobs or solutions: errors, settings, secrets, PostgreSQL, Redis."""
