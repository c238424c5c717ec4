"""What the product discovers of an Odoo against what that Odoo's own database and server say: `make fidelity`.

Written a second time on purpose: nothing that derives a fact is shared with `connectors/`, which only reads the product's
side (`OdooConnector`) and carries questions to the server (`Transport`). Nothing is written into Odoo.
"""
