"""Training a network, evaluating it, and the run folder on disk."""

from sigprop_snn.data import DATASETS
from sigprop_snn.device import keep_freed_memory, peak_memory_mb
from sigprop_snn.errors import RunStoppedError
from sigprop_snn.optimizers.catalogue import OPTIMIZERS, optimizer_of
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers
from sigprop_snn.optimizers.schedules import SCHEDULES, LocalSchedules
from sigprop_snn.recipe import Recipe
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training.building import build_network
from sigprop_snn.training.checkpoint import load_checkpoint
from sigprop_snn.training.evaluation import (
    Evaluation,
    LayerEvaluation,
    evaluate,
    judge,
    multi_label_accuracy,
    regression_error,
)
from sigprop_snn.training.folder import RunFolder
from sigprop_snn.training.graphed import GraphedStep
from sigprop_snn.training.loop import resume, train
from sigprop_snn.training.release import (
    PRETRAINED,
    Pretrained,
    Release,
    load_release,
    pretrained,
    write_release,
)
from sigprop_snn.training.result import Trained, load_run
from sigprop_snn.training.run import TrainingRun

RECIPES = {name: dataset.recipe for name, dataset in DATASETS.items()}
"""The recipes of the data sets, from the time when this package was imported."""

__all__ = [
    "OPTIMIZERS",
    "PRETRAINED",
    "RECIPES",
    "SCHEDULES",
    "Evaluation",
    "GraphedStep",
    "LayerEvaluation",
    "LocalOptimizers",
    "LocalSchedules",
    "Pretrained",
    "Recipe",
    "Release",
    "RunFolder",
    "RunStoppedError",
    "TrainConfig",
    "Trained",
    "TrainingRun",
    "build_network",
    "evaluate",
    "judge",
    "keep_freed_memory",
    "load_checkpoint",
    "load_release",
    "load_run",
    "multi_label_accuracy",
    "optimizer_of",
    "peak_memory_mb",
    "pretrained",
    "regression_error",
    "resume",
    "train",
    "write_release",
]
