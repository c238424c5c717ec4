"""Run in Odoo's shell by `live-odoo`: an API key of the administrator, a user with few rights, an automation rule."""

from datetime import datetime, timedelta

admin = env.ref("base.user_admin")  # type: ignore[name-defined]  # noqa: F821
key = env["res.users.apikeys"].with_user(admin)._generate(None, "live", datetime.now() + timedelta(days=80))  # type: ignore[name-defined]  # noqa: DTZ005, F821
env["res.users"].create(  # type: ignore[name-defined]  # noqa: F821
    {
        "name": "Restricted",
        "login": "restricted",
        "password": "restricted",
        "group_ids": [(6, 0, [env.ref("base.group_user").id])],  # type: ignore[name-defined]  # noqa: F821
    }
)
env["base.automation"].create(  # type: ignore[name-defined]  # noqa: F821
    {
        "name": "Thank for a large order",
        "model_id": env.ref("sale.model_sale_order").id,  # type: ignore[name-defined]  # noqa: F821
        "trigger": "on_create_or_write",
        "filter_domain": "[('amount_total', '>', 1000)]",
        "action_server_ids": [
            (
                0,
                0,
                {
                    "name": "Write a note",
                    "model_id": env.ref("sale.model_sale_order").id,  # type: ignore[name-defined]  # noqa: F821
                    "state": "code",
                    "code": "record.message_post(body='Thank you')",
                },
            )
        ],
    }
)
env.cr.commit()  # type: ignore[name-defined]  # noqa: F821
print("KEY", key)
