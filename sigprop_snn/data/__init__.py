"""Data sets by name, in time-first batches."""

from sigprop_snn.data.batches import Batches, Data
from sigprop_snn.data.camera import SENSOR_SIZE, digit_events
from sigprop_snn.data.catalogue import DATASETS, Dataset, load, prepare
from sigprop_snn.data.events import EventFileError, read_nmnist_file, to_frames
from sigprop_snn.data.source import DataNotFoundError, Source, Split

__all__ = [
    "DATASETS",
    "SENSOR_SIZE",
    "Batches",
    "Data",
    "DataNotFoundError",
    "Dataset",
    "EventFileError",
    "Source",
    "Split",
    "digit_events",
    "load",
    "prepare",
    "read_nmnist_file",
    "to_frames",
]
