"""Everything that knows Odoo."""
