"""The script that trains the networks of a release."""

import runpy
import sys
from pathlib import Path

from sigprop_snn.training import TrainConfig, load_release

SCRIPT = Path(__file__).parents[2] / "benchmarks/pretrained.py"


def test_it_writes_the_file_and_prints_its_hash(monkeypatch, tmp_path, capsys):
    small = TrainConfig("digits", steps=2, train_samples=40, test_samples=20)
    module = runpy.run_path(str(SCRIPT))
    module["CONFIGS"]["digits"] = small
    monkeypatch.setattr(
        sys, "argv", [SCRIPT.name, "digits", "--epochs", "1", "--out", str(tmp_path)]
    )
    module["main"]()
    assert load_release(tmp_path / "digits.pt").config.epochs == 1
    assert "SHA-256" in capsys.readouterr().out.splitlines()[-1]
