"""Copies of Odoo's records in mirrored tables: state, pages, writer, sweep, verification."""
