"""YAML and JSON are read as written, and everything ambiguous in them is refused with its place."""

from __future__ import annotations

import math

import pytest

from infra.core.errors import InputError
from infra.documents.files import MAX_BYTES, config_path, parse_json, parse_yaml, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("off", "off"),
        ("22:00", "22:00"),
        ("2026-11-24", "2026-11-24"),
        ("2026-11-24T14:20:00Z", "2026-11-24T14:20:00Z"),
        ("010", 10),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("true", True),
        ("~", None),
        (".5", 0.5),
        ("v1.0.0", "v1.0.0"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"key: {text}", "f")["key"]
    assert read == value
    assert type(read) is type(value)


def test_nan_is_read_as_nan_so_that_the_field_can_be_named() -> None:
    assert math.isnan(parse_yaml("a: .nan", "f")["a"])


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("a: [", "BAD_YAML", "f: line 1, column 5"),
        ("a: 1\nb: 2\na: 3\n", "DUPLICATE_KEY", "f: line 3, column 1"),
        ("a: {b: 1, b: 2}", "DUPLICATE_KEY", "f: line 1, column 11"),
        ("a: &x 1\nb: *x\n", "BAD_YAML", "f: line 2, column 4"),
        ("1: a", "BAD_YAML", "f: line 1, column 1"),
        ("a: 1\n---\nb: 2\n", "BAD_YAML", "f: line 2, column 1"),
        ("a: !!python/object:os.system {}", "BAD_YAML", "f: line 1, column 4"),
        ("a: \x00", "BAD_YAML", "f"),
        ("[" * 5000, "BAD_YAML", "f"),
        ("a: " + "9" * 5000, "BAD_YAML", "f"),
    ],
)
def test_bad_yaml(text: str, code: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f")
    assert (caught.value.code, caught.value.where) == (code, where)


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ('{"a": NaN}', "BAD_JSON", "f"),
        ('{"a": -Infinity}', "BAD_JSON", "f"),
        ('{"a": 1,\n "a": 2}', "DUPLICATE_KEY", "f"),
        ('{"a": 1,\n}', "BAD_JSON", "f: line 2, column 1"),
        ("", "BAD_JSON", "f: line 1, column 1"),
        ("[" * 100_000, "BAD_JSON", "f"),
        (b"\xff\xfe\x00", "BAD_JSON", "f"),
    ],
)
def test_bad_json(text: str | bytes, code: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_json(text, "f")
    assert (caught.value.code, caught.value.where) == (code, where)


def test_unreadable_files(tmp_path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    for name, code in [
        ("none.yaml", "FILE_MISSING"),
        ("latin.yaml", "FILE_UNREADABLE"),
        ("big.yaml", "FILE_TOO_LARGE"),
        ("", "FILE_UNREADABLE"),
    ]:
        with pytest.raises(InputError) as caught:
            read_text(tmp_path / name)
        assert caught.value.code == code
        assert str(tmp_path) in caught.value.where


def test_configuration_can_be_moved_and_a_wrong_place_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path))
    assert config_path("sites") == tmp_path / "sites"
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path / "gone"))
    with pytest.raises(InputError) as caught:
        config_path("sites")
    assert caught.value.code == "CONFIG_MISSING"
