"""Solutions: their configuration, requests, registry, manifest, desired tables and cleanup."""
