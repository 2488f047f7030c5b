"""Starts jobs of several ranks; see `ranks.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sigprop_snn

HERE = Path(__file__).resolve().parent
ROOT = Path(sigprop_snn.__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def run_ranks(tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs jobs such as "weights.equal:2"; returns the result of each job's rank 0 by name.

    All jobs are forks of one process, which imports torch once.
    """
    said = tmp_path_factory.mktemp("said") / "stderr"
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "ranks.py")],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
                "OMP_NUM_THREADS": "1",
                "MPLBACKEND": "agg",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def run(*jobs: str, folder: Path | None = None) -> dict[str, Any]:
        folder = folder or tmp_path_factory.mktemp("ranks")
        print(json.dumps([str(folder), jobs]), file=process.stdin, flush=True)
        process.stdout.readline()
        results = {}
        for job in jobs:
            file = folder / f"{job.replace(':', '-')}.json"
            assert file.exists(), f"{job} gave no result:\n{said.read_text()}"
            results[job] = json.loads(file.read_text())
        return results

    yield run
    process.communicate()
