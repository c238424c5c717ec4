"""The transitions of `sale.order` of Odoo 19, as the documentation shows them."""

from __future__ import annotations

from typing import Any, Final

SALE_ORDER: Final[list[dict[str, Any]]] = [
    {
        "button": "action_cancel",
        "label": "Cancel",
        "kind": "object",
        "from": ["draft", "sale", "sent"],
        "condition": "not id or locked",
    },
    {"button": "action_confirm", "label": "Confirm", "kind": "object", "from": ["draft", "sent"]},
    {"button": "action_draft", "label": "Set to Quotation", "kind": "object", "from": ["cancel"]},
]
