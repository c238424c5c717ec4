"""The deduplication key of jobs."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.core.vault import Vault, new_key
from fbs_worker.jobs.deduplication import deduplication_key

KEYS = new_key()
VAULT = Vault.from_text(KEYS)


def setup(password: str | None, **more: Any) -> dict[str, Any]:
    return {"config": {"solution_name": "shop", "database_config": {"name": "x", "password": password}, **more}}


def of(kwargs: dict[str, Any], *, task: str = "fbs.setup", keys: str = KEYS) -> str:
    return deduplication_key(task, kwargs, secret_keys=keys)


def test_the_key_does_not_depend_on_the_order() -> None:
    assert of({"a": 1, "b": {"c": [1, 2], "d": None}}) == of({"b": {"d": None, "c": [1, 2]}, "a": 1})


@pytest.mark.parametrize(
    "other",
    [{"solution_name": "shop", "full": True}, {"solution_name": "shop2"}, {"solution_name": "shop", "odoo": "b"}],
)
def test_other_arguments_give_another_key(other: dict[str, Any]) -> None:
    assert of({"solution_name": "shop"}) != of(other)
    assert of(other) != of(other, task="fbs.refresh")


def test_the_key_depends_on_the_password_and_not_on_its_token() -> None:
    first, second = VAULT.encrypt("hunter2"), VAULT.encrypt("hunter2")
    assert first != second
    assert of(setup(first)) == of(setup(second)) == of(setup("hunter2"))
    assert of(setup(first)) != of(setup(VAULT.encrypt("hunter3")))


def test_a_nested_password_counts_too() -> None:
    first, second = ({"database_config": {"name": "x", "password": VAULT.encrypt("hunter2")}} for _ in range(2))
    assert of(first) == of(second)


def test_the_password_cannot_be_guessed_without_the_secret_key() -> None:
    other = new_key()
    assert of(setup("hunter2")) != of(setup("hunter2"), keys=other)
    assert of(setup("hunter2"), keys=f"{KEYS},{other}") == of(setup("hunter2"))
    assert of(setup("hunter2"), keys="") == of(
        setup("hunter3"), keys=""
    )  # without a secret key a password does not count


def test_references_count_as_text() -> None:
    assert of(setup("env:A")) == of(setup("env:A"), keys=new_key())
    assert len({of(setup(text)) for text in ("env:A", "env:B", "file:A", None)}) == 4


def test_a_token_of_an_unknown_key_is_unique() -> None:
    sealed = Vault.from_text(new_key()).encrypt("hunter2")
    assert of(setup(sealed)) not in {of(setup("hunter2")), of(setup(None))}
    assert of(setup(sealed), keys="") != of(setup(None), keys="")
