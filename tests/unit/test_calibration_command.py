"""``headrace calibration`` on a file of past runs."""

from __future__ import annotations

import json
import random

import pytest

from infra.cli import main


def _write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_a_history_is_judged(tmp_path, capsys):
    generator = random.Random(3)
    rows = [f"training,gpu-a,1,60000,{14 * generator.lognormvariate(0.0, 0.2):.3f}" for _ in range(120)]
    file = _write(tmp_path / "runs.csv", ["kind,device,devices,units,run_s", *rows])
    with pytest.raises(SystemExit) as ended:
        main(["calibration", "--history", file, "--json"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)["estimates"]
    assert [(one["kind"], one["device"], one["tested"]) for one in told] == [("training", "gpu-a", 120)]
    assert 0.8 <= told[0]["coverage"]["0.9"] <= 1.0
    with pytest.raises(SystemExit):
        main(["calibration", "--history", file])
    assert "training on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["kind,units", "training,1"], "BAD_HISTORY"),
        (["kind,units,run_s", "training,1,soon"], "BAD_NUMBER"),
        (["kind,units,run_s", "training,1,nan"], "BAD_NUMBER"),
        (["kind,units,run_s", "sleeping,1,2"], "UNKNOWN_VALUE"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, capsys, lines, code):
    with pytest.raises(SystemExit) as ended:
        main(["calibration", "--history", _write(tmp_path / "runs.csv", lines), "--json"])
    assert ended.value.code == 2
    told = json.loads(capsys.readouterr().out)
    assert told["error"]["code"] == code
    assert "runs.csv" in told["error"]["where"]
