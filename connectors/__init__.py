"""Connection to Odoo: transports, limiter, connector and normaliser, recordings."""
