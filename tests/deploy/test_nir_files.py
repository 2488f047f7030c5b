"""A NIR file from a stranger is read, or refused by name; nothing of it runs, nothing crashes."""

from __future__ import annotations

import os
import pickle
import random
import re

import h5py
import numpy as np
import pytest
import torch

import sigprop_snn as sp
from sigprop_snn.deploy import from_nir, to_nir, write_nir
from sigprop_snn.network import nir_conv

nir = pytest.importorskip("nir", reason="the extra nir is not installed")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a file of a convolutional and of a recurrent network."""
    torch.manual_seed(0)
    neuron = sp.neurons.Recurrent(sp.LIF(reset="zero"), sp.neurons.AllToAll((5,)))
    networks = {
        "conv": nir_conv((1, 8, 8), 3, channels=(2, 3), kernel=3),
        "recurrent": sp.mlp((6,), 3, hidden=(5,), neuron=neuron),
    }
    found = {}
    for name, network in networks.items():
        file = tmp_path_factory.mktemp("whole") / f"{name}.nir"
        found[name] = write_nir(to_nir(network), file).read_bytes()
    return found


@pytest.fixture
def file(tmp_path):
    return tmp_path / "network.nir"


def read(file):
    """Return a network, or the message of the refusal; any other error passes."""
    try:
        return from_nir(file)
    except sp.SigpropError as error:
        return str(error)


def refused(file, place):
    with pytest.raises(sp.SigpropError, match=place):
        from_nir(file)


def changed(whole, file, change, name="conv"):
    file.write_bytes(whole[name])
    with h5py.File(file, "r+") as content:
        change(content)
    return file


def put(place, value):
    def change(content):
        if place in content:
            del content[place]
        if value is not None:
            content[place] = value

    return change


def test_files_that_are_no_nir_are_refused_by_their_name(tmp_path, file):
    refused(tmp_path / "missing.nir", "missing.nir")
    refused(tmp_path, re.escape(str(tmp_path)))
    for content in (b"", b"nir", b"\x89HDF\r\n\x1a\n", b"\0" * 5000, pickle.dumps({"a": 1})):
        file.write_bytes(content)
        refused(file, "network.nir.*can't be read.*expected a complete, readable NIR file")
    with h5py.File(file, "w") as content:
        content["events"] = np.arange(5)
    refused(file, "network.nir.*None.*NIRGraph")
    with h5py.File(file, "w") as content:
        content["node/type"] = "LIF"
    refused(file, "network.nir.*'LIF'.*NIRGraph")


def test_a_file_cut_short_is_refused(whole, file):
    content = whole["conv"]
    for size in range(0, len(content) - 1, len(content) // 12):
        file.write_bytes(content[:size])
        assert isinstance(read(file), str)


def test_changed_bytes_give_a_network_or_a_refusal(whole, file):
    chance = random.Random(0)
    refusals = 0
    for _ in range(60):
        content = bytearray(whole[chance.choice(["conv", "recurrent"])])
        for _ in range(chance.choice([1, 4, 16])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content)
        refusals += isinstance(read(file), str)
    assert refusals


def values_of(content):
    found = []
    content.visititems(lambda name, entry: found.append((name, entry)))
    return [name for name, entry in found if isinstance(entry, h5py.Dataset)]


ODD = [
    None, np.zeros(0), np.array(np.nan), np.array(-1.0), np.array(1e300), np.array(2**40),
    np.zeros((3, 1, 2)), "nonsense", b"\xff\xfe", np.array(["a", "b"], dtype="S1"),
    np.array(1 + 2j), np.array([True, False]),
]  # fmt: skip


@pytest.mark.parametrize("name", ["conv", "recurrent"])
def test_odd_values_in_every_place_give_a_network_or_a_refusal(whole, file, name):
    file.write_bytes(whole[name])
    with h5py.File(file) as content:
        places = values_of(content)
    refusals = tried = 0
    for number, place in enumerate(places):
        for value in ODD[number % 2 :: 2]:
            if place.endswith("edges") and isinstance(value, np.ndarray):
                continue
            found = read(changed(whole, file, put(place, value), name))
            refusals += isinstance(found, str)
            tried += 1
    assert refusals > tried // 2


REFUSED = {
    "block1_weights.*finite": put("node/nodes/block1_weights/weight", np.full((2, 1, 3, 3), 1e999)),
    "block1_weights.*bias": put("node/nodes/block1_weights/bias", np.zeros(7)),
    "block1_weights.*stride": put("node/nodes/block1_weights/stride", np.array([0, 1])),
    "block1_weights.*groups": put("node/nodes/block1_weights/groups", 3),
    "values": put("node/nodes/block1_weights/padding", np.array([2**27, 2**27])),
    "LIF 'block1'.*tau of -1": put("node/nodes/block1/tau", -np.ones((2, 8, 8))),
    "LIF 'block1'.*tau of 1e-09": put("node/nodes/block1/tau", np.full((2, 8, 8), 1e-9)),
    "LIF 'block1'.*v_threshold of 0": put("node/nodes/block1/v_threshold", np.zeros((2, 8, 8))),
    "LIF 'block1'.*v_reset": put("node/nodes/block1/v_reset", np.ones((2, 8, 8))),
    "LIF 'block1'.*tau of shape": put("node/nodes/block1/tau", np.full((3, 9, 9), 1e-3)),
    "LIF 'block1'.*'sideways'": put("node/nodes/block1/metadata/reset", "sideways"),
    "Warp 'block1_weights'": put("node/nodes/block1_weights/type", "Warp"),
    "Delay 'block1_pool'": put("node/nodes/block1_pool/type", "Delay"),
    "'nowhere'": put("node/edges", np.array([["input", "nowhere"]], dtype="S8")),
    "0 nodes Input": put("node/nodes/input/type", "Affine"),
    "shape": put("node/nodes/input/shape", np.array([2**20, 2**20, 2**20])),
    "block1_weights.*receives values of shape": put("node/nodes/input/shape", np.array([3, 8, 8])),
    "dt of Convention": put("node/metadata/dt", 0.0),
    "decay": put("node/metadata/decay", "never"),
}


@pytest.mark.parametrize("place", REFUSED)
def test_a_refusal_names_the_node_and_the_value(whole, file, place):
    refused(changed(whole, file, REFUSED[place]), place)


def test_graphs_that_are_no_network_are_refused(file):
    def graph(nodes, edges):
        types = {"input": nir.Input({"input": np.array([3])}), **nodes}
        types["output"] = nir.Output({"output": np.array([3])})
        plain = {"type": "NIRGraph", "nodes": {n: v.to_dict() for n, v in types.items()}}
        plain["edges"] = edges

        class Given:
            nodes = edges = None

            def to_dict(self):
                return plain

        return Given()

    def lif():
        one = np.ones(3)
        return nir.LIF(tau=one, r=one, v_leak=0 * one, v_threshold=one)

    linear = nir.Linear(np.ones((3, 3)))
    refused(graph({"a": lif()}, [("input", "a"), ("a", "output")]), "'a'.*without weights")
    refused(graph({"w": linear}, [("input", "w"), ("w", "output")]), "no IF, LIF or CubaLIF")
    nodes = {"w": linear, "a": lif(), "v": linear, "b": lif()}
    loop = [("input", "w"), ("w", "a"), ("a", "v"), ("v", "b"), ("b", "w"), ("b", "output")]
    refused(graph(nodes, loop), "'w'.*one node")
    round_trip = [("w", "a"), ("a", "v"), ("v", "b"), ("b", "w"), ("b", "output")]
    refused(graph(nodes, round_trip), "loop through a, b")
    idle = [("input", "w"), ("w", "a"), ("a", "output"), ("input", "v"), ("v", "b")]
    refused(graph(nodes, idle), "'b'.*leads nowhere")
    refused(graph(nodes, [("input", "w"), ("w", "w"), ("w", "a"), ("a", "output")]), "'w'")
    wide = {"w": nir.Linear(np.ones((3, 4))), "a": lif()}
    row = [("input", "w"), ("w", "a"), ("a", "output")]
    refused(graph(wide, row), r"'w'.*receives values of shape \[3\]; expected.*in_features=4")


def test_links_and_data_of_other_files_are_refused(whole, file, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(18.0).tobytes())
    weight = "node/nodes/block1_weights/weight"

    def external_link(content):
        del content[weight]
        content[weight] = h5py.ExternalLink(str(tmp_path / "other.h5"), "weight")

    def soft_link(content):
        del content[weight]
        content[weight] = h5py.SoftLink("/node/edges")

    def external_data(content):
        del content[weight]
        content.create_dataset(
            weight, (2, 1, 3, 3), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )

    def virtual_data(content):
        del content[weight]
        layout = h5py.VirtualLayout((2, 1, 3, 3), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "weight", (2, 1, 3, 3))
        content.create_virtual_dataset(weight, layout)

    def references(content):
        del content[weight]
        content[weight] = np.array([content.ref], dtype=h5py.ref_dtype)

    def cycle(content):
        content["node/nodes/again"] = content["node"]

    for change in (external_link, soft_link, external_data, virtual_data, references, cycle):
        refused(changed(whole, file, change), "network.nir|weight")


def test_a_few_bytes_that_would_fill_the_memory_are_refused(whole, file):
    def bomb(content):
        weight = "node/nodes/block1_weights/weight"
        del content[weight]
        content.create_dataset(
            weight, (2**20, 2**20), "f8", chunks=(2**10, 2**10), compression="gzip"
        )

    refused(changed(whole, file, bomb), "shape")


def test_nothing_of_a_file_is_executed(whole, file, tmp_path):
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    bomb = np.frombuffer(pickle.dumps(Bomb()), np.uint8)
    for place in ("node/nodes/block1_weights/weight", "node/metadata/dt", "node/type"):
        refused(changed(whole, file, put(place, bomb)), "NIR|Convention")
    put_word = put("node/nodes/block1/metadata/reset", f"__import__('os').mkdir({str(mark)!r})")
    refused(changed(whole, file, put_word), "block1")
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:.*reset is 'subtract'")
def test_a_relative_path_is_read_in_the_current_folder(tmp_path, monkeypatch):
    """The process that reads was started in another folder."""
    network = sp.mlp((3,), 2, hidden=4).eval()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_nir(to_nir(network), "network.nir")
        assert len(from_nir("network.nir").blocks) == 1
