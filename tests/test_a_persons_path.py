"""A person comes with data and a model, and works in the clone's root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from sigprop_snn.command_line.cli import main

ROOT = Path(__file__).parent.parent

OWN_DATASET = """
import sys
import torch
from torch import nn
from torch.utils.data import Dataset
import sigprop_snn as sp
from sigprop_snn.figures import draw_run
from sigprop_snn.report import write_report


class Bars(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        picture = 0.2 * torch.rand(1, 6, 6)
        picture[(0, 2) if index % 2 else (0, slice(None), 3)] += 1
        return picture, index % 2


out = sys.argv[1]
data = sp.Data.from_torch(Bars(60), Bars(20), steps=4, batch_size=20)
settings = sp.TrainConfig("bars", epochs=1, device="cpu", out=out)
sp.train(settings, data=data)
went_on = sp.resume(out, data=data, epochs=2)
assert len(went_on.history) == 2
loaded = sp.load_run(out, data=data)
assert 0 <= sp.evaluate(loaded.network, data.test).accuracy <= 1
write_report(out, data=data)
assert [path.name for path in draw_run(loaded)] == ["raster.png", "voltage.png", "curves.png"]
sp.plots.raster([[1]])
assert "matplotlib.pyplot" not in sys.modules

# An existing snnTorch model, with its weights.
import snntorch as snn
model = nn.Sequential(
    nn.Flatten(),
    nn.Linear(36, 20),
    snn.Leaky(beta=0.9, init_hidden=True),
    nn.Linear(20, 2),
    snn.Leaky(beta=0.9, init_hidden=True, output=True),
)
network = sp.from_snntorch(model, (1, 6, 6))
before = network.blocks[0].synapse[1].weight.clone()
assert torch.equal(before, model[1].weight)
optimizers = sp.LocalOptimizers(network, torch.optim.Adam)
for x, labels in data.train:
    network.learn(x, labels, optimizers.step)
assert not torch.equal(before, network.blocks[0].synapse[1].weight)
assert torch.equal(before, model[1].weight)  # the model itself stays as it is
assert 0 <= sp.evaluate(network, data.test).accuracy <= 1
print("done")
"""


SHORT = ["--network", "mlp", "--epochs", "1", "--steps", "3", "--device", "cpu"]
PYTHONPATH = [path for path in [os.environ.get("PYTHONPATH")] if path]


# A new process imports torch, which takes most of the time of these tests. So one program runs in a
# new process, in the clone's root, where folders have the names of packages, and with a matplotlib
# backend that does not exist. The command and a notebook run in the clone's root in test_output.py
# and plots/test_notebooks.py.
def test_own_dataset_pictures_without_a_backend_and_an_existing_model_in_the_clones_root(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", OWN_DATASET, str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), *PYTHONPATH]), "MPLBACKEND": "nonsense"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")
    assert (tmp_path / "run" / "report.html").exists()


def test_a_folder_of_pictures_of_mixed_modes(tmp_path, capsys, no_figures):
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 4)):
        for label in ("cat", "dog"):
            place = tmp_path / "pictures" / split / label
            place.mkdir(parents=True)
            for number in range(count):
                shade = 60 if label == "cat" else 190
                pixels = rng.integers(shade - 40, shade + 40, (12, 12, 3)).astype(np.uint8)
                picture = Image.fromarray(pixels).convert(["RGB", "L", "RGBA", "P"][number % 4])
                picture.save(place / f"{number}.png")
    run = str(tmp_path / "run")
    flags = ["--data-root", str(tmp_path / "pictures"), "--batch-size", "4", "--out", run]
    assert main(["train", "imagefolder", *flags, *SHORT]) == 0
    assert main(["evaluate", run]) == 0
    assert "network" in capsys.readouterr().out


def test_a_folder_of_events_with_a_table_in_text(tmp_path, capsys, no_figures):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("left", "right"):
            place = tmp_path / "events" / split / label
            place.mkdir(parents=True)
            for number in range(3):
                t = np.sort(rng.integers(0, 90_000, 200))
                x = rng.integers(0, 8, 200) + (8 if label == "right" else 0)
                y, p = rng.integers(0, 12, 200), rng.integers(0, 2, 200)
                if number:
                    fields = [(name, np.int64) for name in "xytp"]
                    np.save(
                        place / f"{number}.npy",
                        np.array(list(zip(x, y, t, p, strict=True)), fields),
                    )
                else:
                    rows = [f"{a},{b},{c},{d}" for a, b, c, d in zip(x, y, t, p, strict=True)]
                    text = "\n".join(["x,y,t,p", *rows])
                    (place / "0.csv").write_text(text + "\n")
    flags = ["--data-root", str(tmp_path / "events"), "--batch-size", "2"]
    assert main(["train", "eventfolder", *flags, *SHORT, "--out", str(tmp_path / "run")]) == 0
    assert "6 training and 6 test samples" in capsys.readouterr().out
