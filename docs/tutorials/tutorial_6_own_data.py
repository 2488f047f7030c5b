"""
Your own data
=============

Four ways to train on samples of your own: arrays, loaders, a folder of pictures, and a folder of
recordings.
"""

# %%
# Arrays
# ------
# Arrays of numpy, tensors or lists. Pictures have no time axis: they enter as a constant current,
# or with ``encoding="rate"`` or ``"latency"`` as spikes.

import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import sigprop_snn as sp

x, y = load_digits(return_X_y=True)
train, test = (x[:1500] / 16, y[:1500]), (x[1500:] / 16, y[1500:])
data = sp.Data.from_arrays(train, test, steps=8, batch_size=32)
print("shape of a step:", data.shape, "classes:", len(data.classes))


def trained(data: sp.Data, network: sp.Network, epochs: int = 3) -> float:
    """Train a network and return its accuracy on the test samples in per cent."""
    optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    for _ in range(epochs):
        for inputs, labels in data.train:  # inputs are [T, B, 64]
            network.learn(inputs, labels, optimizers.step)
    return 100 * sp.evaluate(network, data.test).accuracy


torch.manual_seed(0)
network = sp.mlp(data.shape, len(data.classes), hidden=(100, 100))
print(f"test accuracy {trained(data, network):.1f} %")

# %%
# Loaders
# -------
# Any ``DataLoader``, or any iterable that gives its batches again. Samples with a time axis come as
# ``[T, B, ...]``; ``batch_first=True`` takes ``[B, T, ...]``. The spikes here are drawn by you.


def spikes(pictures: np.ndarray, steps: int) -> torch.Tensor:
    """Return spikes `[N, T, 64]`, with the brightness of a pixel as the probability of a spike."""
    chance = torch.as_tensor(pictures, dtype=torch.float32)[:, None].expand(-1, steps, -1)
    return torch.bernoulli(chance)


def loader(split: tuple[np.ndarray, np.ndarray], *, shuffle: bool) -> DataLoader:
    """Return batches of spikes `[B, T, 64]` and labels."""
    samples = TensorDataset(spikes(split[0], steps=8), torch.as_tensor(split[1]))
    return DataLoader(samples, batch_size=32, shuffle=shuffle)


loaders = loader(train, shuffle=True), loader(test, shuffle=False)
data = sp.Data.from_loaders(*loaders, batch_first=True)
network = sp.mlp(data.shape, len(data.classes), hidden=(100, 100))
print(f"test accuracy {trained(data, network):.1f} %")

# %%
# A folder of recordings
# ----------------------
# ``train/<class>/`` and ``test/<class>/`` with files of an event camera. Here two classes of spots,
# which move to the left or to the right, are written as text: columns t, x, y, p, and microseconds.

folder = Path(tempfile.mkdtemp())
random = np.random.default_rng(0)
for split, count in (("train", 24), ("test", 8)):
    for name, way in (("left", -1), ("right", 1)):
        target = folder / split / name
        target.mkdir(parents=True)
        for number in range(count):
            t = np.arange(60) * 1000
            place = 8 + way * (t / t[-1] - 0.5) * 12 + random.normal(0, 0.5, 60)
            events = np.stack(
                [t, place.clip(0, 15).round(), random.integers(6, 10, 60), np.ones(60)], 1
            ).astype(int)
            rows = "\n".join(",".join(map(str, event)) for event in events)
            (target / f"{number}.csv").write_text(f"t,x,y,p\n{rows}\n", encoding="utf-8")

data = sp.load("eventfolder", root=folder, steps=6, batch_size=8)
x, labels = next(iter(data.test))
sp.plots.event_frames(x[:, 0], columns=6, title=data.classes[int(labels[0])])

# %%
network = sp.conv(data.shape, len(data.classes), channels=(8, 8))
print(f"test accuracy {trained(data, network, epochs=6):.1f} %")

# %%
# A folder of pictures is ``sp.load("imagefolder", root=...)``. The formats of both are listed in
# :doc:`/how_to/own_data`. ``sp.Data.from_torch`` takes a torch dataset with any transform, and
# ``sp.Data.from_tonic`` a dataset of tonic.
#
# A run folder for your own data
# ------------------------------
# ``sp.train`` takes the same data and writes a run folder with a checkpoint, the metrics and a
# summary. A run that was stopped continues with ``sp.resume``. ``sigprop-snn train`` also draws
# pictures of the run.

data = sp.Data.from_arrays(train, test, steps=4, batch_size=64, name="mine")
config = sp.TrainConfig("mine", epochs=1, network="mlp", out=folder / "run")
done = sp.train(config, say=lambda _: None, data=data)
print(f"test accuracy {100 * done.summary['test_accuracy']:.1f} %")
print(sorted(path.name for path in (folder / "run").iterdir()))
