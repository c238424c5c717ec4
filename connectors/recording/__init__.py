"""Recordings of an Odoo: record every table that a read needs, and replay the file as a transport."""
