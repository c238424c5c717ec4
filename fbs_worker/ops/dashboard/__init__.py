"""The dashboard: Flower behind a password, with the progress of jobs, without their secrets, and with a memory."""
