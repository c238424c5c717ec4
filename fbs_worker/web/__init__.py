"""The web application: HTTP API and pages."""
