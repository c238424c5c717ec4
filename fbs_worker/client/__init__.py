"""The Python client: enqueue jobs, follow them, and read what a solution's database holds."""
