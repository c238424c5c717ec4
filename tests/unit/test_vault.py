"""Secrets are encrypted, decrypted, resolved from references, and never shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fbs_worker.core.errors import SecretError
from fbs_worker.core.vault import Vault, new_key, unresolved

SECRET = "s3cr3t-pässwörd"


def test_an_encrypted_secret_can_be_decrypted() -> None:
    vault = Vault([new_key()])
    sealed = vault.encrypt(SECRET)
    assert sealed.startswith("sealed:")
    assert SECRET not in sealed
    assert vault.resolve(sealed) == SECRET
    assert vault.encrypt(SECRET) != sealed


def test_an_empty_secret_can_be_encrypted() -> None:
    vault = Vault([new_key()])
    assert vault.resolve(vault.encrypt("")) == ""


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = new_key(), new_key()
    sealed = Vault([old]).encrypt(SECRET)
    both = Vault.from_text(f" {new} , {old},")
    assert both.resolve(sealed) == SECRET
    again = both.reencrypt(sealed)
    assert Vault([new]).resolve(again) == SECRET
    with pytest.raises(SecretError):
        Vault([new]).resolve(sealed)


def test_references_are_not_re_encrypted() -> None:
    assert Vault().reencrypt("env:PGPASSWORD") == "env:PGPASSWORD"
    with pytest.raises(SecretError):
        Vault([new_key()]).reencrypt(SECRET)


def test_a_reference_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Vault(environment={"A": SECRET}).resolve("env:A") == SECRET
    monkeypatch.setenv("RENTAL_PASSWORD", SECRET)
    assert Vault().resolve("env:RENTAL_PASSWORD") == SECRET


def test_the_error_of_a_reference_does_not_tell_what_exists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys, link, big, env = tmp_path / "keys", tmp_path / "link", tmp_path / "big", tmp_path / "fbs.env"
    keys.write_text(SECRET)
    env.write_text(SECRET)
    link.symlink_to("/proc/self/environ")
    big.write_bytes(b"x" * 70_000)
    vault = Vault(environment={"FBS_SECRET_KEYS_FILE": str(keys), "FBS_X": SECRET, "ODOO_PASSWORD": SECRET, "E": ""})
    names = ["env:NOT_SET", "env:E", "env:FBS_X", "env:fbs_x", "env:ODOO_PASSWORD", "file:/proc/self/environ", "file:"]
    names += [f"file:{path}" for path in (keys, env, link, big, tmp_path, tmp_path / "none", f"{tmp_path}/../a\0b")]
    names += [f"file:{tmp_path}/x/../keys", "file:~nobody-here/x"]
    for name in names:
        with pytest.raises(SecretError) as caught:
            vault.resolve(name)
        assert caught.value.to_dict() == unresolved(name).to_dict()
        assert caught.value.__suppress_context__
    assert "is a setting of this process" in caplog.text  # for the operator
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [(SECRET, SECRET), (f"{SECRET}\n", SECRET), ("a\n\n", "a\n"), ("a\r\n", "a"), (" a ", " a ")],
)
def test_a_reference_to_a_file(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content.encode())
    assert Vault().resolve(f"file:{path}") == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_a_file_that_holds_no_password(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(SecretError, match="password"):
        Vault().resolve(f"file:{path}")


@pytest.mark.parametrize("path", ["/no/such/file", "/", "a\0b", ""])
def test_a_file_that_cannot_be_read(path: str) -> None:
    with pytest.raises(SecretError) as caught:
        Vault().resolve(f"file:{path}")
    assert caught.value.hint


def test_plain_text_is_refused_unless_allowed() -> None:
    with pytest.raises(SecretError) as caught:
        Vault([new_key()]).resolve(SECRET)
    assert SECRET not in str(caught.value.to_dict())
    assert Vault().resolve(SECRET, allow_plain=True) == SECRET


def test_without_a_key_nothing_is_encrypted_or_decrypted() -> None:
    vault = Vault([""])
    attempts: list[Callable[[], str]] = [lambda: vault.encrypt(SECRET), lambda: vault.resolve("sealed:abc")]
    for attempt in attempts:
        with pytest.raises(SecretError) as caught:
            attempt()
        assert "FBS_SECRET_KEYS" in caught.value.hint
        assert "fbs new-key" in caught.value.hint


@pytest.mark.parametrize("token", ["", "abc", "not ä token", "gAAAAA" + "x" * 90])
def test_a_damaged_token_is_not_shown(token: str) -> None:
    with pytest.raises(SecretError) as caught:
        Vault([new_key()]).resolve(f"sealed:{token}")
    assert not token or token not in str(caught.value.to_dict())


@pytest.mark.parametrize("key", ["short", "x" * 44, "kéy", "=" * 44])
def test_a_key_that_is_none_is_not_shown(key: str) -> None:
    with pytest.raises(SecretError, match="Key 2") as caught:
        Vault([new_key(), key])
    assert key not in str(caught.value.to_dict())


def test_nothing_shows_in_repr() -> None:
    key = new_key()
    assert repr(Vault([key])) == "Vault(with keys)"
    assert repr(Vault()) == "Vault(without keys)"


@pytest.mark.parametrize(("text", "expected"), [("sealed:x", True), ("env:X", True), ("file:/x", True), ("x", False)])
def test_what_is_a_reference(text: str, expected: bool) -> None:
    assert Vault.is_reference(text) is expected
