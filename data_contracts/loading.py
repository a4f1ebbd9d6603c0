"""Reading contracts: one folder per dataset with ``contract.yaml`` (Open Data Contract Standard v3) and ``suite.json``.

Only the keys that Headrace reads are allowed, so a misspelt promise is an error and never a promise forgotten.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, relevance

from data_contracts.model import Contract, Expectation, expectations_of
from data_contracts.parsing import contract_of
from infra.core.errors import InputError
from infra.documents.files import display, read_tree
from infra.documents.problems import dotted, join, short, unknown

PACKAGED = Path(__file__).resolve().parent
CONTRACT_FILE = "contract.yaml"
SUITE_FILE = "suite.json"


def contracts_dir() -> Path:
    """``$HEADRACE_CONTRACTS_DIR``, or the contracts that come with Headrace."""
    return Path(os.environ.get("HEADRACE_CONTRACTS_DIR") or PACKAGED)


def contract_names(root: Path | None = None) -> tuple[str, ...]:
    """Datasets that have a contract, sorted.

    Raises:
        InputError: ``CONTRACTS_MISSING`` when the directory does not exist.
    """
    folder = root or contracts_dir()
    if not folder.is_dir():
        raise InputError(
            "CONTRACTS_MISSING", "no such directory", str(folder), "set HEADRACE_CONTRACTS_DIR to the contracts' folder"
        )
    return tuple(sorted(path.parent.name for path in folder.glob(f"*/{CONTRACT_FILE}")))


def load_contract(name: str, root: Path | None = None) -> Contract:
    """The contract of a dataset, with the suite that checks it.

    Raises:
        InputError: ``UNKNOWN_DATASET`` without a contract; otherwise what is wrong with the files, with file and path:
            ``UNKNOWN_KEY``, ``MISSING_KEY``, ``UNKNOWN_RESIDENCY_TAG``, ``CONTRADICTORY_CONTRACT``,
            ``SUITE_OUT_OF_STEP`` and others.
    """
    contract = parse_contract_file(_folder(name, root) / CONTRACT_FILE)
    suite = read_suite(contract.folder / SUITE_FILE)
    checked = {expectation.key for expectation in suite}
    for expectation in expectations_of(contract):
        if expectation.key not in checked:
            raise InputError(
                "SUITE_OUT_OF_STEP",
                f"the contract promises what the suite does not check: {expectation.type} {expectation.kwargs}",
                display(contract.folder / SUITE_FILE),
                f"run `headrace data suite {name}`",
            )
    return replace(contract, suite=suite)


def load_contracts(root: Path | None = None) -> dict[str, Contract]:
    """All contracts by dataset name."""
    return {name: load_contract(name, root) for name in contract_names(root)}


def parse_contract_file(path: Path) -> Contract:
    """The contract alone, without its suite."""
    where = display(path)
    tree = read_tree(path)
    _require_structure(tree, where)
    contract = contract_of(tree, path.parent, where)
    if contract.name != path.parent.name:
        raise InputError(
            "CONTRADICTORY_CONTRACT", f"it names {contract.name!r}", join(where, "name"), "name it as its folder"
        )
    return contract


def read_suite(path: Path) -> tuple[Expectation, ...]:
    """Expectations of a suite file as Great Expectations writes it.

    Raises:
        InputError: ``BAD_SUITE`` when it is not one.
    """
    tree = read_tree(path)
    where = display(path)
    items = tree.get("expectations") if isinstance(tree, dict) else None
    good = isinstance(items, list) and all(
        isinstance(item, dict) and isinstance(item.get("type"), str) and isinstance(item.get("kwargs"), dict)
        for item in items
    )
    if not good:
        raise InputError("BAD_SUITE", "no list of expectations with type and kwargs", where, "generate it anew")
    return tuple(Expectation(item["type"], item["kwargs"]) for item in items)


def _folder(name: str, root: Path | None) -> Path:
    known = contract_names(root)
    if name not in known:
        raise unknown("UNKNOWN_DATASET", "dataset with a contract", name, known, "dataset")
    return (root or contracts_dir()) / name


@functools.cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((PACKAGED / "contract.schema.json").read_text("utf-8")))


def _require_structure(tree: Any, where: str) -> None:
    """Raise for the most telling of the structure's errors."""
    errors = list(_validator().iter_errors(tree))
    if errors:
        raise _input_error(_deepest(max(errors, key=relevance)), where)


_KINDS = ("type", "rule", "engine", "property")
"""Keys whose value says which of several alternatives an item is."""


def _deepest(error: ValidationError) -> ValidationError:
    """Of alternatives (kinds of rule, of custom property), the error in the one that was meant."""
    if error.validator != "oneOf" or not error.context:
        return error
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    for inner in branches.values():
        if not any(_is_of_another_kind(item, error) for item in inner):
            return _deepest(max(inner, key=relevance))
    return error


def _is_of_another_kind(inner: ValidationError, outer: ValidationError) -> bool:
    """Whether a branch failed because it is about another kind of rule or property."""
    depth = len(inner.absolute_path) - len(outer.absolute_path)
    if inner.validator == "const":
        return depth == 1 and inner.absolute_path[-1] in _KINDS
    if inner.validator == "required" and depth == 0:
        return any(key in _KINDS and key not in inner.instance for key in inner.validator_value)
    return False


def _input_error(error: ValidationError, where: str) -> InputError:
    path = dotted(error.absolute_path)
    place = join(where, path)
    if error.validator == "additionalProperties":
        known = sorted(error.schema["properties"])
        extra = sorted(str(key) for key in error.instance if key not in known)[0]
        return unknown("UNKNOWN_KEY", "key here", extra, known, join(where, f"{path}.{extra}" if path else extra))
    if error.validator == "required":
        key = next(key for key in error.validator_value or () if key not in error.instance)
        return InputError(
            "MISSING_KEY", "the key is missing", join(where, f"{path}.{key}" if path else key), f"add {key}"
        )
    if error.validator == "enum":
        return unknown("UNKNOWN_VALUE", "known value", error.instance, map(str, error.validator_value or ()), place)
    if error.validator == "const":
        return unknown("UNKNOWN_VALUE", "known value", error.instance, [str(error.validator_value)], place)
    if error.validator == "type":
        return InputError("BAD_TYPE", f"{short(error.instance)} is not {error.validator_value}", place, "correct it")
    if error.validator == "oneOf":
        remedy = "see data_contracts/contract.schema.json for the rules and properties that are read"
        return InputError("UNKNOWN_RULE", f"{short(error.instance)} is none of the known kinds", place, remedy)
    remedy = f"it must satisfy {error.validator}: {short(error.validator_value)}"
    return InputError("BAD_VALUE", f"{short(error.instance)} is not allowed", place, remedy)
