"""Database and solution configurations: what they take, what they refuse, what they never show."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SecretError, UsageError
from fbs_worker.core.identifiers import check_prefix
from fbs_worker.core.vault import Vault, new_key
from fbs_worker.ops.local.state import database_url
from fbs_worker.solutions.config import SolutionConfig

PASSWORD = "s3cr3t'\"\\ ü"
DATABASE = {"name": "rental_db", "user": "rental_user", "password": PASSWORD, "host": "localhost", "port": "5432"}
SOLUTION: dict[str, Any] = {
    "solution_name": "fayvad_rentals",
    "domain": "rental",
    "database_config": DATABASE,
    "table_prefix": "fbs_",
    "business_prefix": "rental_",
    "refresh_discoveries": True,
}


def test_the_dictionary_of_the_design_is_taken() -> None:
    solution = SolutionConfig(**SOLUTION)
    assert solution.database_config.port == 5432
    assert solution.database_config.password.get_secret_value() == PASSWORD
    assert solution.business_prefix == "rental_"
    assert SolutionConfig.model_validate(SOLUTION) == solution


def test_what_is_not_given_has_a_default() -> None:
    solution = SolutionConfig(solution_name="s", domain="hr", database_config=DatabaseConfig(name="d"))
    assert solution.table_prefix == "fbs_"
    assert solution.business_prefix == ""
    assert solution.refresh_discoveries is True
    assert solution.database_config == DatabaseConfig(name="d", host="localhost", port=5432)


def test_defaults_are_given_and_give_way() -> None:
    defaults = {"host": "db.example.com", "port": 5433, "user": "fbs", "password": SecretStr("p")}
    taken = DatabaseConfig.parse({"name": "d", "host": None, "port": "", "user": "me"}, defaults=defaults)
    assert taken == DatabaseConfig(name="d", host="db.example.com", port=5433, user="me", password=SecretStr("p"))


@pytest.mark.parametrize("port", [1, 65535, "1", " 5432 ", "65535"])
def test_ports_that_are(port: Any) -> None:
    assert DatabaseConfig(name="d", port=port).port == int(port)


@pytest.mark.parametrize("port", [0, 65536, -1, "0", "99999", "x", "5432x", "", " ", 5432.0, True, None, "٣", [1]])
def test_ports_that_are_not(port: Any) -> None:
    with pytest.raises(UsageError, match=r"database_config\.port") as caught:
        DatabaseConfig(name="d", port=port)
    assert "--database-port" in caught.value.hint


@pytest.mark.parametrize("host", ["localhost", "10.0.0.1", "::1", "db.example.com", "/var/run/postgresql", "/tmp/a b"])
def test_hosts_that_are(host: str) -> None:
    config = DatabaseConfig(name="d", host=host)
    assert config.host == host
    assert config.uses_socket == host.startswith("/")


@pytest.mark.parametrize(
    "host", ["", "a b", "a,", "a:0,b", "/a,b", "::1,b", "http://a", "user@a", "a/b", "a\0", "a\nb", 3]
)
def test_hosts_that_are_not(host: Any) -> None:
    with pytest.raises(UsageError, match=r"database_config\.host"):
        DatabaseConfig(name="d", host=host)


@pytest.mark.parametrize("name", ["", "x" * 64, "ä" * 32, "a\0b", "a\nb", None, 5])
def test_names_that_are_not(name: Any) -> None:
    with pytest.raises(UsageError, match=r"database_config\.name"):
        DatabaseConfig(name=name)


def test_a_missing_or_unknown_field_is_named() -> None:
    with pytest.raises(UsageError, match=r"database_config\.name is missing") as caught:
        DatabaseConfig.parse({"host": "localhost"})
    assert "--database-name" in caught.value.hint
    with pytest.raises(UsageError, match=r"database_config\.database is not known") as caught:
        DatabaseConfig.parse({"name": "d", "database": "d"})
    assert "name, user, password, host, port" in caught.value.hint
    with pytest.raises(UsageError, match="domain is missing"):
        SolutionConfig(**{key: value for key, value in SOLUTION.items() if key != "domain"})
    with pytest.raises(UsageError, match=r"database_config\.port is not valid"):
        SolutionConfig.model_validate({**SOLUTION, "database_config": {"name": "d", "port": 0}})
    for no_dictionary in ("rental_db", ["rental_db"], 3):
        with pytest.raises(UsageError, match="database_config is not a dictionary"):
            SolutionConfig(**{**SOLUTION, "database_config": no_dictionary})


@pytest.mark.parametrize("prefix", ["fbs_", "f", "_", "a1_", "x" * 20])
def test_prefixes_that_are(prefix: str) -> None:
    assert check_prefix(prefix) == prefix
    solution = SolutionConfig(**{**SOLUTION, "table_prefix": prefix, "business_prefix": prefix})
    assert (solution.table_prefix, solution.business_prefix) == (prefix, prefix)


@pytest.mark.parametrize("prefix", ["1a", "A_", "a-b", "a b", 'a"', "ä_", "x" * 21, "a\n", "a;", None, 1])
@pytest.mark.parametrize("field", ["table_prefix", "business_prefix"])
def test_prefixes_that_are_not(field: str, prefix: Any) -> None:
    with pytest.raises(UsageError, match=field):
        SolutionConfig(**{**SOLUTION, field: prefix})


def test_only_business_tables_may_go_without_a_prefix() -> None:
    assert SolutionConfig(**{**SOLUTION, "business_prefix": ""}).business_prefix == ""
    with pytest.raises(UsageError, match="table_prefix"):
        SolutionConfig(**{**SOLUTION, "table_prefix": ""})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("solution_name", ""),
        ("solution_name", "-x"),
        ("solution_name", "a b"),
        ("solution_name", "x" * 101),
        ("domain", "Rental"),
        ("domain", ""),
        ("domain", "x" * 101),
        ("refresh_discoveries", "yes"),
        ("refresh_discoveries", None),
        ("colour", "red"),
    ],
)
def test_other_fields_that_are_not(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        SolutionConfig(**{**SOLUTION, field: value})


def test_mirrored_models_are_sorted_and_each_is_there_once() -> None:
    for models in (["sale.order", "res.partner", "sale.order"], ("res.partner", "sale.order")):
        solution = SolutionConfig(**{**SOLUTION, "mirror": models, "odoo": "erp-2"})
        assert solution.mirror == ("res.partner", "sale.order")
        assert solution.odoo == "erp-2"
        assert SolutionConfig(**solution.model_dump()).mirror == solution.mirror
    assert SolutionConfig(**SOLUTION).mirror == ()
    assert SolutionConfig(**SOLUTION).odoo is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mirror", "sale.order"),
        ("mirror", None),
        ("mirror", [1]),
        ("mirror", {"sale.order": 1}),
        *(("mirror", [name]) for name in ("", "Sale", "a..b", ".a", "a.", "a b", 'a"', "x" * 101, "a\n")),
        *(("odoo", name) for name in ("", "-x", "a b", "x" * 101, 1)),
    ],
)
def test_models_and_connections_that_are_not(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        SolutionConfig(**{**SOLUTION, field: value})


def test_they_do_not_change() -> None:
    with pytest.raises(ValidationError):
        DatabaseConfig(name="d").name = "e"


def test_a_password_is_never_shown() -> None:
    config = DatabaseConfig.parse(DATABASE)
    solution = SolutionConfig(**SOLUTION)
    for shown in (repr(config), str(config), config.address(), config.redacted(), repr(solution)):
        assert "s3cr3t" not in str(shown)
    assert config.redacted()["password"] == "***"
    assert DatabaseConfig(name="d").redacted()["password"] == ""
    for wrong in (
        {**DATABASE, "port": PASSWORD},
        {**DATABASE, "password": [PASSWORD]},
        {**DATABASE, "extra": PASSWORD},
    ):
        with pytest.raises(UsageError) as caught:
            SolutionConfig(**{**SOLUTION, "database_config": wrong})
        assert "s3cr3t" not in str(caught.value.to_dict())
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_an_address_for_people() -> None:
    assert DatabaseConfig.parse(DATABASE).address() == "rental_user@localhost:5432/rental_db"
    assert DatabaseConfig(name="d").address() == "localhost:5432/d"


def test_passwords_travel_sealed_or_as_references() -> None:
    vault = Vault([new_key()], environment={"PGPASSWORD": "from the environment"})
    message = DatabaseConfig.parse(DATABASE).to_message(vault)
    assert message["password"].startswith("sealed:")
    received = DatabaseConfig.parse(message)
    assert received.resolved(vault).password.get_secret_value() == PASSWORD
    for elsewhere in ({"host": "127.0.0.2"}, {"port": 5499}):
        moved = received.model_copy(update=elsewhere)
        for use in (moved.resolved, moved.from_message):
            with pytest.raises(SecretError, match="for another host or port"):
                use(vault)
    stored, is_vouched = received.from_message(vault)
    assert is_vouched
    assert stored.from_message(vault) == (stored, False)  # as it is stored: its row names the host
    assert stored.resolved(vault).password.get_secret_value() == PASSWORD

    referring = DatabaseConfig(name="d", password=SecretStr("env:PGPASSWORD"))
    assert referring.to_message(Vault())["password"] == "env:PGPASSWORD"
    assert referring.resolved(vault).password.get_secret_value() == "from the environment"

    without = DatabaseConfig(name="d")
    assert without.to_message(Vault())["password"] == ""
    assert without.resolved(Vault()) == without

    plain = DatabaseConfig.parse(DATABASE)
    with pytest.raises(SecretError):
        plain.to_message(Vault())
    with pytest.raises(SecretError):
        plain.resolved(vault)
    assert plain.resolved(vault, allow_plain=True) == plain


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:5433/d", {"name": "d", "user": "u", "password": "p", "host": "h", "port": 5433}),
        ("postgres://h/d", {"name": "d", "host": "h"}),
        ("postgresql://u@h/d", {"name": "d", "user": "u", "host": "h"}),
        ("postgresql:///d", {"name": "d"}),
        ("postgresql://u:p%40%2F%3A@h/my%20db", {"name": "my db", "user": "u", "password": "p@/:", "host": "h"}),
        ("postgresql://u@%2FTmp%2Fx:5433/d", {"name": "d", "user": "u", "host": "/Tmp/x", "port": 5433}),
        ("postgresql://%2FTmp%2Fx/d", {"name": "d", "host": "/Tmp/x"}),
        ("postgresql:///d?host=/Tmp/x", {"name": "d", "host": "/Tmp/x"}),
        ("postgresql://[::1]:5433/d", {"name": "d", "host": "::1", "port": 5433}),
        (
            "postgresql+psycopg2://h/d?sslmode=require&port=5433",
            {"name": "d", "host": "h", "port": 5433, "sslmode": "require"},
        ),
        (
            "postgresql://u@a:1,b:2/d?sslrootcert=%2Fx.pem",
            {"name": "d", "user": "u", "host": "a:1,b:2", "sslrootcert": "/x.pem"},
        ),
        ("postgresql:///d?host=a,b&connect_timeout=3", {"name": "d", "host": "a,b", "connect_timeout": 3}),
    ],
)
def test_urls_that_are(url: str, expected: dict[str, Any]) -> None:
    config = DatabaseConfig.from_url(url)
    assert config == DatabaseConfig(**expected)
    again = DatabaseConfig.from_url(database_url(config))
    assert (again.servers, again.options) == (config.servers, config.options)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cr3t",
        "mysql://u:s3cr3t@h/d",
        "postgresql://u:s3cr3t@h",
        "postgresql://u:s3cr3t@h:port/d",
        "postgresql://u:s3cr3t@h:70000/d",
        "postgresql://u:s3cr3t@[::1/d",
        "postgresql://u:s3cr3t@h/d?sslmode=s3cr3t",
        "postgresql://u:s3cr3t@h/d?service=x",
    ],
)
def test_urls_that_are_not(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        DatabaseConfig.from_url(url)
    assert "s3cr3t" not in str(caught.value.to_dict())


nonsense = st.none() | st.integers() | st.booleans() | st.text("aB1/ \0é") | st.binary(max_size=3)


@given(st.dictionaries(st.sampled_from([*DATABASE, "other"]), nonsense))
def test_nothing_but_a_usage_error_comes_of_nonsense(values: dict[str, Any]) -> None:
    with suppress(UsageError):
        DatabaseConfig.parse(values)
