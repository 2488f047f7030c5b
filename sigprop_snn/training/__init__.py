"""Training a network, judging it, and what a run leaves on disk."""

from sigprop_snn.training.config import RECIPES, Recipe, TrainConfig
from sigprop_snn.training.evaluation import Evaluation, LayerFigures, evaluate
from sigprop_snn.training.folder import RunFolder, load_checkpoint
from sigprop_snn.training.loop import Trained, build_network, train
from sigprop_snn.training.memory import keep_freed_memory, peak_memory_mb
from sigprop_snn.training.optimizers import LocalOptimizers
from sigprop_snn.training.vectors import multi_label_accuracy, regression_error

__all__ = [
    "RECIPES",
    "Evaluation",
    "LayerFigures",
    "LocalOptimizers",
    "Recipe",
    "RunFolder",
    "TrainConfig",
    "Trained",
    "build_network",
    "evaluate",
    "keep_freed_memory",
    "load_checkpoint",
    "multi_label_accuracy",
    "peak_memory_mb",
    "regression_error",
    "train",
]
