"""Apply a plan: preflight checks, lock retry, archiving, the journal."""
