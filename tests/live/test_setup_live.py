"""Solutions of all four domains in one database, set up and refreshed from the real Odoo."""

from __future__ import annotations

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import Settings
from fbs_worker.domains import domain_names
from fbs_worker.ops.status import list_solutions, solution_status
from tests.live.conftest import Sql
from tests.support.solutions import config_of, entries, inline, rows, tables_of, writes

pytestmark = pytest.mark.live

MIRRORED = {
    "rental": ["product.template", "res.partner", "sale.order"],
    "ecommerce": ["product.product", "sale.order", "stock.picking"],
    "hr": ["hr.department", "hr.employee", "hr.job"],
    "generic": ["res.company", "res.partner", "res.users"],
}


def test_four_solutions_side_by_side(
    settings_live: Settings, database: DatabaseConfig, target: DatabaseConfig, sql: Sql
) -> None:
    assert sorted(MIRRORED) == domain_names()
    made: dict[str, list[str]] = {}
    for domain, models in MIRRORED.items():
        prefixes = {"table_prefix": f"{domain}_fbs_", "business_prefix": f"{domain}_"}
        config = config_of(target, f"live_{domain}", domain=domain, mirror=models, **prefixes)
        first = inline("setup", config, settings_live)
        assert first["changed"]
        assert first["pending"] == []
        assert [table["status"] for table in first["sync"]["tables"]] == ["ok"] * len(models)
        refresh = first["refresh"]
        assert refresh["source"]["url"] == settings_live.odoo_url
        assert {section["status"] for section in refresh["report"]["sections"]} == {"complete"}
        assert all(refresh["report"]["counts"].values())
        assert refresh["workflows"]["skipped"] == refresh["dashboards"]["skipped"] == []
        made[domain] = first["created"]
        assert {f"{domain}_{model.replace('.', '_')}" for model in models} <= set(made[domain])

        before = writes(target)
        again = inline("setup", config, settings_live)
        assert (again["changed"], again["created"]) == (False, [])
        full = inline("refresh", {"solution_name": f"live_{domain}", "full": True}, settings_live)
        assert [full["report"][what] for what in ("added", "changed", "removed")] == [[], [], []]
        assert [full[what]["changed"] for what in ("workflows", "dashboards")] == [0, 0]
        after = writes(target)
        # when Odoo was read
        remembering = {f"{domain}_fbs_{name}" for name in ("solution_schemas", "snapshots", "replication")}
        assert {name for name in after if after[name] != before[name]} <= remembering

        status = solution_status(settings_live, f"live_{domain}")
        assert (status["overall_status"], status["pending"]) == ("active", [])
        assert status["discoveries"] == refresh["report"]["counts"]
    assert sorted(name for created in made.values() for name in created) == tables_of(target)
    assert list_solutions(settings_live)["counts"]["active"] == len(MIRRORED)

    ((columns,),) = rows(target, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'hr_hr_employee'::regclass")
    ((stored,),) = sql("SELECT count(*) FROM ir_model_fields WHERE model = 'hr.employee' AND store")
    assert columns > stored / 2  # the mirrored model is there in its breadth

    for domain in MIRRORED:
        dropped = inline("drop", {"solution_name": f"live_{domain}", "with_data": True}, settings_live)
        assert sorted(dropped["dropped"]) == sorted(made[domain])
    assert tables_of(target) == []
    assert entries(database) == {}
