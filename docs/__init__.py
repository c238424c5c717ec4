"""The documentation: pages in Markdown, and what Sphinx needs to build them (`make docs`)."""
