"""Starts ranks for the tests of this room; torch is imported once and forked.

It reads requests `[FOLDER, ["JOB:RANKS", ...]]`, one a line, and answers each with a line. Each job
runs in `RANKS` processes, and rank 0's result goes to `FOLDER/JOB-RANKS.json`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

LONGEST = 60  # seconds of a job
GRACE = 5

os.fsync = lambda _: None  # as in `../conftest.py`


def rank_process(job: str, rank: int, ranks: int, folder: Path) -> None:
    """Run one rank of a job, and end the process."""
    code = 1
    try:
        torch.set_num_threads(1)
        module, _, name = job.partition(".")
        work = getattr(importlib.import_module(module), name)
        joins = getattr(work, "joins", True)
        if joins:
            store = dist.FileStore(str(folder / f".store-{job}-{ranks}"), ranks)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
        result = work(rank, ranks, folder)
        if rank == 0:
            (folder / f"{job}-{ranks}.json").write_text(json.dumps(result))
        if joins:
            dist.destroy_process_group()
        code = 0
    except BaseException as error:
        print(f"rank {rank} of {job}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        sys.stderr.flush()
        os._exit(code)


def run(folder: Path, jobs: list[str]) -> None:
    for each in jobs:
        job, _, count = each.rpartition(":")
        ranks, children = int(count), {}
        module = importlib.import_module(job.partition(".")[0])
        if hasattr(module, "warm"):
            module.warm()  # loads the kernels once for all ranks
        for rank in range(ranks):
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                rank_process(job, rank, ranks, folder)
            children[child] = rank
        until = time.monotonic() + LONGEST
        while children and time.monotonic() < until:
            child, _ = os.waitpid(-1, os.WNOHANG)
            if children.pop(child, None) == 0:  # the others have little time to end
                until = min(until, time.monotonic() + GRACE)
            time.sleep(0.02)
        for child, rank in children.items():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # with what it has started
            os.waitpid(child, 0)
            print(f"rank {rank} of {job}: still runs after {LONGEST} s", file=sys.stderr)


def main() -> None:
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a job prints is no answer
    for line in sys.stdin:
        folder, jobs = json.loads(line)
        run(Path(folder), jobs)
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
