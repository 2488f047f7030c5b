"""Kill runs at chosen moments and resume them, each in its own process.

    python kill_helpers.py FOLDER

Importing torch takes longer than a run, so the processes are forks of one process that has
trained once. `test_resume.py` starts this script and examines the run folders in FOLDER.
"""

import functools
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from sigprop_snn.optimizers.local_optimizers import LocalOptimizers
from sigprop_snn.training import TrainConfig, folder, resume, train

# What a killed process has written stays in the system's cache; `../conftest.py` does this too.
os.fsync = lambda _: None

EPOCHS, LAYERS = 3, 3
CONFIG = {
    "neuron": "lif-noise",  # draws from torch's own random state
    "augment": True,
    "epochs": EPOCHS,
    "steps": 4,
    "batch_size": 20,
    "train_samples": 60,
    "test_samples": 20,
    "device": "cpu",
}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(owner, name, call, *, half=None):
    """Kill this process at the `call`-th call of a function, counted from 1."""
    real, calls = getattr(owner, name), [0]

    def counted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call:
            if half is not None:
                half(*args)
            die()
        return real(*args, **kwargs)

    setattr(owner, name, counted)


def half_a_checkpoint(path, state):
    torch.save(state, path)
    os.truncate(path, path.stat().st_size // 2)


BATCH = LAYERS  # steps of the optimizers in a batch
MOMENTS = {
    "first-batch": lambda: die_at(LocalOptimizers, "step", 2),
    "first-epoch": lambda: die_at(LocalOptimizers, "step", 2 * BATCH + 2),
    "second-epoch": lambda: die_at(LocalOptimizers, "step", 5 * BATCH),
    "first-checkpoint": lambda: die_at(folder, "write_checkpoint", 1, half=half_a_checkpoint),
    "second-checkpoint": lambda: die_at(folder, "write_checkpoint", 2, half=half_a_checkpoint),
    "before-the-move": lambda: die_at(Path, "replace", 4),
    "before-the-metrics": lambda: die_at(folder.RunFolder, "write_metrics", EPOCHS),
    "before-the-summary": lambda: die_at(folder.RunFolder, "write_json", 2),
}
OFTEN = ("first-epoch", "second-checkpoint")
CHANCE = (0.3, 0.6, 0.9)  # fractions of the time of an uninterrupted run


def forked(work):
    """Do some work in another process and return its id."""
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def done(process, expected):
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in expected:
        raise SystemExit(f"a process ended with {code}; expected one of {expected}")


def side_by_side(works):
    """Do all works, each in its own process, a few at the same time."""
    running = []
    for work in works:
        if len(running) >= min(4, os.cpu_count() or 1):
            done(running.pop(0), [0])
        running.append(forked(work))
    for process in running:
        done(process, [0])


def quiet(_):
    """Ignore a line."""


def begin(out, **settings):
    train(TrainConfig("digits", out=out, **CONFIG, **settings), say=quiet)


def killed_then_resumed(root, name, **settings):
    out = root / name

    def first():
        MOMENTS[name.removeprefix("often-")]()
        begin(out, **settings)

    done(forked(first), [-signal.SIGKILL])
    done(forked(lambda: resume(out, say=quiet)), [0])


def killed_by_chance(out, seconds):
    process = forked(lambda: begin(out, save_every=0.0))
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    done(process, [-signal.SIGKILL, 0])
    if (out / "config.json").exists():
        done(forked(lambda: resume(out, say=quiet)), [0])
    else:
        done(forked(lambda: begin(out)), [0])


def killed_again_and_again(out):
    def second():
        die_at(LocalOptimizers, "step", 2 * BATCH)
        begin(out) if not out.exists() else resume(out, say=quiet)

    for _ in range(3):
        done(forked(second), [-signal.SIGKILL])
        # Without checkpoints within an epoch, the run would never pass this moment.
        config = out / "config.json"
        config.write_text(config.read_text().replace('"save_every": 300.0', '"save_every": 0.0'))
    done(forked(lambda: resume(out, say=quiet)), [0])


def main(root):
    torch.set_num_threads(1)
    begin(root / "warm-up")  # imports modules and compiles kernels, so that no fork has to
    shutil.rmtree(root / "warm-up")
    started = time.monotonic()
    done(forked(lambda: begin(root / "undisturbed")), [0])
    seconds = time.monotonic() - started
    cases = [functools.partial(killed_then_resumed, root, name) for name in MOMENTS]
    cases += [
        functools.partial(killed_then_resumed, root, f"often-{name}", save_every=0.0)
        for name in OFTEN
    ]
    side_by_side([*cases, functools.partial(killed_again_and_again, root / "again-and-again")])
    for share in CHANCE:
        killed_by_chance(root / f"chance-{share}", share * seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
