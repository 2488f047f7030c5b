"""Data sets by name, in time-first batches."""

from sigprop_snn.data.augment import Augment
from sigprop_snn.data.batches import Batches, mask
from sigprop_snn.data.catalogue import DATASETS, Dataset, load
from sigprop_snn.data.data import Data, prepare
from sigprop_snn.data.events.formats import read_events
from sigprop_snn.data.events.frames import Frames, to_frames
from sigprop_snn.data.events.nmnist_file import read_nmnist_file
from sigprop_snn.data.events.recording import EventFileError
from sigprop_snn.data.sets.camera import SENSOR_SIZE, digit_events
from sigprop_snn.data.source import DataNotFoundError, Request, Source, Split

__all__ = [
    "DATASETS",
    "SENSOR_SIZE",
    "Augment",
    "Batches",
    "Data",
    "DataNotFoundError",
    "Dataset",
    "EventFileError",
    "Frames",
    "Request",
    "Source",
    "Split",
    "digit_events",
    "load",
    "mask",
    "prepare",
    "read_events",
    "read_nmnist_file",
    "to_frames",
]
