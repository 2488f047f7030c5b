"""Training a network, judging it, and what a run leaves on disk."""

from sigprop_snn.config import TrainConfig
from sigprop_snn.data import DATASETS
from sigprop_snn.errors import RunStoppedError
from sigprop_snn.recipe import Recipe
from sigprop_snn.training.checkpoint import load_checkpoint
from sigprop_snn.training.evaluation import Evaluation, LayerFigures, evaluate
from sigprop_snn.training.folder import RunFolder
from sigprop_snn.training.loop import build_network, resume, train
from sigprop_snn.training.memory import keep_freed_memory, peak_memory_mb
from sigprop_snn.training.optimizers import OPTIMIZERS, LocalOptimizers, optimizer_of
from sigprop_snn.training.reading import load_run
from sigprop_snn.training.running import judge
from sigprop_snn.training.schedule import SCHEDULES, LocalSchedules
from sigprop_snn.training.trained import Trained
from sigprop_snn.training.vectors import multi_label_accuracy, regression_error

RECIPES = {name: dataset.recipe for name, dataset in DATASETS.items()}
"""The recipes of the data sets by name, as they are when this package is imported."""

__all__ = [
    "OPTIMIZERS",
    "RECIPES",
    "SCHEDULES",
    "Evaluation",
    "LayerFigures",
    "LocalOptimizers",
    "LocalSchedules",
    "Recipe",
    "RunFolder",
    "RunStoppedError",
    "TrainConfig",
    "Trained",
    "build_network",
    "evaluate",
    "judge",
    "keep_freed_memory",
    "load_checkpoint",
    "load_run",
    "multi_label_accuracy",
    "optimizer_of",
    "peak_memory_mb",
    "regression_error",
    "resume",
    "train",
]
