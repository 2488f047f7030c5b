"""Starts jobs of several ranks; see `ranks.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sigprop_snn

HERE = Path(__file__).resolve().parent
ROOT = Path(sigprop_snn.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def run_ranks(tmp_path_factory) -> Callable[..., dict[str, Any]]:
    """Runs jobs such as "weights.equal:2"; returns the result of each job's rank 0 by name."""

    def run(*jobs: str, folder: Path | None = None) -> dict[str, Any]:
        folder = folder or tmp_path_factory.mktemp("ranks")
        path = os.pathsep.join([str(ROOT), str(HERE)])
        done = subprocess.run(
            [sys.executable, str(HERE / "ranks.py"), str(folder), *jobs],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        results = {}
        for job in jobs:
            file = folder / f"{job.replace(':', '-')}.json"
            assert file.exists(), f"{job} gave no result:\n{done.stderr}"
            results[job] = json.loads(file.read_text())
        return results

    return run
