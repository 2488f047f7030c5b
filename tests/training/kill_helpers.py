"""Runs that are killed at chosen moments and resumed, each in a process of its own.

    python killing.py FOLDER

Importing torch takes longer than a run, so the processes are forks of one that has imported it and
done nothing else. `test_resume.py` starts this and looks at what is left in FOLDER.
"""

import functools
import importlib
import os
import signal
import sys
import time
from pathlib import Path

import torch

from sigprop_snn.neurons.kernels import cosine_cross_entropy
from sigprop_snn.training import TrainConfig, folder, resume, train
from sigprop_snn.training.optimizers import LocalOptimizers

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
    """Die where a function is called for the `call`-th time, counted from 1."""
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


BATCH = LAYERS  # steps of the optimizers
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
CHANCE = (0.3, 0.6, 0.9)  # shares of the time of a run left alone


def forked(work):
    """Do some work in a process of its own; return its id."""
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
    """Do all, each in a process of its own, as many at once as there are processors."""
    running = []
    for work in works:
        if len(running) >= (os.cpu_count() or 1):
            done(running.pop(0), [0])
        running.append(forked(work))
    for process in running:
        done(process, [0])


def quiet(_):
    """Say nothing."""


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
        # Without a checkpoint within the epoch it would never get past it.
        config = out / "config.json"
        config.write_text(config.read_text().replace('"save_every": 300.0', '"save_every": 0.0'))
    done(forked(lambda: resume(out, say=quiet)), [0])


def main(root):
    torch.set_num_threads(1)
    for slow in ("sklearn.datasets", "torch._dynamo", "numba"):  # imported by every run otherwise
        importlib.import_module(slow)
    one = torch.ones(1, 1)
    # A kernel once, and what all kernels need is there.
    cosine_cross_entropy(one, one, torch.zeros(1, dtype=torch.long), 1.0, 0.0)
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
