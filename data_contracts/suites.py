"""Great Expectations: writing suite files from contracts and running them on frames.

Importing the library takes seconds, so it is imported by the functions that need it and by nothing else here.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from data_contracts.findings import Finding, failing_rows
from data_contracts.model import Contract, Expectation, expectations_of
from infra.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def suite_text(contract: Contract) -> str:
    """The suite file of a contract, as Great Expectations serialises it (takes the library's import, seconds)."""
    gx = _library()
    expectations = expectations_of(contract)
    suite = gx.ExpectationSuite(
        name=contract.name,
        expectations=[_configuration(gx, expectation) for expectation in expectations],
        meta={"contract": f"{contract.name} {contract.version}"},
    )
    tree = suite.to_json_dict()
    tree["meta"].pop("great_expectations_version", None)
    for written, expectation in zip(tree["expectations"], expectations, strict=True):
        # The library leaves arguments out that equal its defaults; what the contract says stays said.
        written["kwargs"] = written["kwargs"] | expectation.kwargs
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def run_suite(frame: pd.DataFrame, expectations: Iterable[Expectation], ids: list[Any], key: str) -> list[Finding]:
    """Check a frame; one finding for every expectation that fails.

    Args:
        frame: The data, with a default index.
        ids: The primary key's values, row by row, as they are told to people.
        key: The primary key's name.

    Raises:
        InputError: ``SUITE_CANNOT_RUN`` when checks raise and none fails: then the suite is wrong, not the data.
    """
    gx = _library()
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    # Without a configuration of its own, the library makes a directory for rendered pages that nobody asked for.
    quiet = DataContextConfig(store_backend_defaults=InMemoryStoreBackendDefaults(), analytics_enabled=False)
    context = gx.get_context(mode="ephemeral", project_config=quiet)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("data").add_dataframe_asset("frame")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="suite", expectations=[_configuration(gx, each) for each in expectations])
    outcome = batch.validate(suite, result_format={"result_format": "COMPLETE"})
    failed = [result for result in outcome.results if not result.success]
    findings = [_finding(result, len(frame), ids, key) for result in failed]
    if findings and all(finding.code == "EXPECTATION_UNCHECKED" for finding in findings):
        first = findings[0]
        about = f"{first.check} on {first.column}" if first.column else first.check
        raise InputError("SUITE_CANNOT_RUN", first.message, about, "correct the suite; the data was not judged")
    return findings


def _finding(result: Any, total: int, ids: list[Any], key: str) -> Finding:
    configuration = result.expectation_config
    arguments = {name: value for name, value in configuration.kwargs.items() if name not in ("batch_id", "column")}
    rows = sorted(result.result.get("unexpected_index_list") or ())
    raised = _exception(result.exception_info or {})
    message = raised or ""
    if not raised and not rows and result.result.get("observed_value") is not None:
        message = f"observed {result.result['observed_value']}"
    return Finding(
        code="EXPECTATION_UNCHECKED" if raised else "EXPECTATION_FAILED",
        check=configuration.type,
        column=configuration.kwargs.get("column", ""),
        arguments=arguments,
        message=message,
        failed_rows=int(result.result.get("unexpected_count") or len(rows)),
        total_rows=total,
        rows=failing_rows(rows, ids, key),
    )


def _exception(information: dict[str, Any]) -> str | None:
    """The message of an exception inside a check, which the library tells flat or by metric."""
    if information.get("raised_exception"):
        return " ".join(str(information.get("exception_message")).split())[:300]
    inner = (item for item in information.values() if isinstance(item, dict))
    return next((message for message in map(_exception, inner) if message), None)


def _configuration(gx: Any, expectation: Expectation) -> Any:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationConfiguration(type=expectation.type, kwargs=dict(expectation.kwargs)).to_domain_obj()


def _library() -> Any:
    # The library reports usage unless told otherwise before it is imported.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx

    return gx
