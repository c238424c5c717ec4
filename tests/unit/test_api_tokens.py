"""Tokens: generation, hashes, authentication."""

from __future__ import annotations

import re

import pytest

from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.web.api.tokens import Entry, Tokens, new_token


def test_a_token_is_random_and_recognisable() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"fbs_[A-Za-z0-9_-]{43}", token) for token in made)


def test_a_configured_token_authenticates_and_no_other() -> None:
    reader, writer = new_token(), new_token()
    text = f"# who\n{Entry.of(reader, name='look', scope='read')},\n {Entry.of(writer, name='ci', scope='write')} \n"
    tokens = Tokens.parse(text)
    assert tokens
    look, ci = tokens.authenticate(reader), tokens.authenticate(writer)
    assert look is not None
    assert (look.name, look.scopes) == ("look", frozenset({"read"}))
    assert ci is not None
    assert (ci.name, ci.scopes) == ("ci", frozenset({"read", "write"}))
    assert tokens.by_id(ci.token_id) == ci
    for other in (new_token(), "", reader[:-1], f"{reader}x", "tökén"):
        assert tokens.authenticate(other) is None


def test_a_removed_or_changed_entry_has_no_principal() -> None:
    token = new_token()
    before = Entry.of(token, name="ci", scope="write").principal
    for now in (
        Entry.of(token, name="ci", scope="read"),
        Entry.of(token, name="other", scope="write"),
        Entry.of(new_token(), name="ci", scope="write"),
    ):
        assert Tokens([now]).by_id(before.token_id) is None


def test_the_hash_of_a_weak_token_does_not_authenticate() -> None:
    tokens = Tokens([Entry.of("secret", name="ci", scope="write")])
    assert tokens.authenticate("secret") is None


def test_two_tokens_may_share_a_name_during_rotation() -> None:
    old, new = new_token(), new_token()
    tokens = Tokens([Entry.of(old, name="ci", scope="read"), Entry.of(new, name="ci", scope="read")])
    found = [tokens.authenticate(token) for token in (old, new)]
    assert [caller.name for caller in found if caller] == ["ci", "ci"]
    assert found[0] != found[1]


def test_an_empty_setting_has_no_tokens() -> None:
    assert not Tokens.parse(" \n, \n# ci:write:0\n")


HASH = "0" * 64


@pytest.mark.parametrize(
    "entry", ["ci", "ci:write", f"ci:all:{HASH}", f":read:{HASH}", f"c i:read:{HASH}", "ci:read:00", f"ci:read:{HASH}0"]
)
def test_an_invalid_entry_is_reported_by_its_number_only(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"Entry 2 of FBS_API_TOKENS is not name:scope:hash\.") as raised:
        Tokens.parse(f"ok:read:{HASH},{entry}")
    assert "new-token" in raised.value.hint
    assert HASH not in str(raised.value.to_dict())


@pytest.mark.parametrize("entry", ["{}", "ci:write:{}", "ci:{}"])
def test_a_token_in_the_settings_is_rejected_and_not_quoted(entry: str) -> None:
    token = new_token()
    with pytest.raises(SettingsError, match="contains a token instead of its hash") as raised:
        Tokens.parse(entry.format(token))
    assert token not in str(raised.value.to_dict())


@pytest.mark.parametrize(
    ("name", "scope"), [("", "read"), ("a:b", "read"), ("a,b", "read"), ("x" * 65, "read"), ("ci", "all")]
)
def test_an_entry_with_an_invalid_name_or_scope_is_rejected(name: str, scope: str) -> None:
    with pytest.raises(UsageError):
        Entry.of(new_token(), name=name, scope=scope)


def test_a_hash_is_not_in_the_repr() -> None:
    entry = Entry.of(new_token(), name="ci", scope="read")
    assert entry.hash not in repr(entry)
    assert entry.hash[:8] not in entry.principal.token_id
