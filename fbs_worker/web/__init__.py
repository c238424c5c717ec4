"""Web application: HTTP API and HTML pages."""
