"""The dashboard: Flower behind a password, with job progress, redacted secrets and a history that survives restarts."""
