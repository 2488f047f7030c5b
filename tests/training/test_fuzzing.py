"""Damaged and invented files are refused with a clear error and left alone."""

import json
from typing import get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overwriting import overwrite

from sigprop_snn import network as network_module
from sigprop_snn.errors import SigpropError
from sigprop_snn.settings import train_config as config_module
from sigprop_snn.settings.config_file import read_config, read_settings
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import load_run, resume
from sigprop_snn.training.checkpoint import load_checkpoint, write_checkpoint

SHARED = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "checkpoint.pt"
    write_checkpoint(path, {"network": {"weight": torch.arange(8.0)}, "epoch": 1})
    return path.read_bytes()


def test_a_checkpoint_is_a_file_of_torch(small_file, tmp_path):
    path = tmp_path / "whole.pt"
    overwrite(path, small_file)
    for load in (load_checkpoint, torch.load):
        assert torch.equal(load(path)["network"]["weight"], torch.arange(8.0))


def some_places(content):
    """Return every third place, and all in the header and the ends of the zip file's lists."""
    last = len(content) - 128
    return [place for place in range(len(content)) if place % 3 == 0 or not 64 < place < last]


def test_a_checkpoint_cut_short_is_refused(small_file, tmp_path):
    path = tmp_path / "cut.pt"
    for size in some_places(small_file):
        overwrite(path, small_file[:size])
        with pytest.raises(SigpropError, match=r"cut\.pt'"):
            load_checkpoint(path)
        assert path.stat().st_size == size


def test_a_checkpoint_with_a_flipped_byte_is_refused(small_file, tmp_path):
    path = tmp_path / "flipped.pt"
    for place in some_places(small_file):
        damaged = bytearray(small_file)
        damaged[place] ^= 1 << place % 8
        overwrite(path, damaged)
        with pytest.raises(SigpropError, match=r"flipped\.pt'"):
            load_checkpoint(path)


def test_a_checkpoint_with_more_bytes_is_refused(small_file, tmp_path):
    path = tmp_path / "longer.pt"
    for extra in (b"\0", b"x" * 83, small_file):
        overwrite(path, small_file + extra)
        with pytest.raises(SigpropError, match=r"longer\.pt'"):
            load_checkpoint(path)


@settings(SHARED, max_examples=40)
@given(data=st.data())
def test_a_run_with_a_damaged_file_is_refused_and_left_alone(run_copy, content_of, data):
    name = data.draw(st.sampled_from(["checkpoint.pt", "config.json", "metrics.jsonl"]))
    path = run_copy / name
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        flipped = bytearray(whole)
        flipped[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        damaged = bytes(flipped)
    overwrite(path, damaged)
    before = content_of(run_copy)
    try:
        outcomes = [
            outcome(lambda: load_run(run_copy)),
            outcome(lambda: resume(run_copy, say=lambda _: None)),
        ]
        # Only damage without effect may pass: another data folder, or a lost last line.
        assert name != "checkpoint.pt" or None not in outcomes
        assert all(said is None or str(run_copy) in said or "unknown" in said for said in outcomes)
        if name != "metrics.jsonl":
            assert content_of(run_copy) == before
    finally:
        overwrite(path, whole)


def outcome(attempt):
    """The message of a refusal, or None."""
    try:
        attempt()
    except SigpropError as error:
        return str(error)
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(list(TrainConfig.__dataclass_fields__)) | st.text(max_size=8)


@settings(SHARED, max_examples=100)
@given(content=st.dictionaries(KEYS, JSON, max_size=4) | JSON, whole=st.booleans())
def test_invented_configs_are_refused_or_valid(tmp_path, content, whole):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"dataset": "digits"} | content if isinstance(content, dict) and
                               whole else content))  # fmt: skip
    before = path.read_bytes()
    try:
        config = read_config(path).resolved()
    except SigpropError as error:
        assert len(str(error)) < 3000
    else:
        assert config.dataset == "digits"
        assert json.loads(json.dumps(config.as_json(), allow_nan=False))
    assert path.read_bytes() == before


@settings(SHARED, max_examples=60)
@given(content=st.binary(max_size=60))
def test_bytes_are_no_config(tmp_path, content):
    path = tmp_path / "config.json"
    overwrite(path, content)
    try:
        assert read_settings(path) == {}
    except SigpropError as error:
        assert "config.json" in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epochs": true}', "epochs is True; .*a whole number or null"),
        ('{"epochs": 3.0}', "epochs is 3.0; .*a whole number or null"),
        ('{"learning_rate": NaN}', "NaN"),
        ('{"learning_rate": 1e999}', "learning_rate is inf; .*a number or null"),
        ('{"learning_rate": 1' + "0" * 400 + "}", "learning_rate is 1000.*a number"),
        ('{"augment": 1}', "augment is 1; .*true or false or null"),
        ('{"data_root": "a\\u0000b"}', "data_root is .*a path"),
        ('{"data_root": "\\ud800"}', "data_root is .*a path"),
        ('{"epochs": 1, "epochs": 2}', "'epochs'.*twice"),
        ('{"learning-rate": 1}', "'learning-rate'.*'learning_rate'"),
        ("[" * 100_000, r"config\.json"),
        ('{"epochs":' + "[" * 900 + "]" * 900 + "}", "epochs is .*a whole number"),
        ("[1, 2]", r"\[1, 2\]"),
        ("", r"config\.json"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(SigpropError, match=message) as refused:
        read_settings(path)
    assert "config.json" in str(refused.value)


def test_a_config_that_is_a_folder_or_empty_is_refused(tmp_path):
    with pytest.raises(SigpropError, match=r"config file .*Is a directory"):
        read_settings(tmp_path)
    with pytest.raises(SigpropError, match="'dataset'"):
        path = tmp_path / "config.json"
        path.write_text("{}")
        read_config(path)


def test_config_and_network_agree_on_the_ways_to_predict():
    """The configuration lists them again, so that it needs no torch."""
    assert get_args(config_module.Predict) == get_args(network_module.Predict)
