"""The limits of chips, and what does not fit."""

import pytest

import sigprop_snn as sp
from sigprop_snn.deploy import fold
from sigprop_snn.errors import SigpropError
from sigprop_snn.fixed_point import CHIPS, Chip, Format, check_chip, quantise


@pytest.fixture(scope="module")
def network():
    return quantise(fold(sp.mlp((1, 20, 20), 10, hidden=(300, 1100))), Format(8))


def found(network, chip):
    return {(misfit.place, misfit.quantity): misfit[2:] for misfit in check_chip(network, chip)}


def test_every_chip_has_a_public_source_and_a_limit():
    for name, chip in CHIPS.items():
        assert "." in chip.source and any(
            value is not None and value is not False
            for field, value in vars(chip).items()
            if field != "source"
        ), name


def test_a_small_network_fits_loihi():
    small = quantise(fold(sp.mlp((12,), 3, hidden=(5,))), Format(8))
    assert check_chip(small, "loihi-2") == []


def test_what_does_not_fit_is_named_with_its_numbers(network):
    misfits = found(network, "xylo-a2")
    assert misfits[("network", "inputs")] == (400, 16)
    assert misfits[("network", "hidden neurons")] == (1400, 1000)
    assert misfits[("readout", "bits of a membrane")] == (24, 16)
    assert ("network", "bits of a weight") not in misfits
    misfits = found(network, "truenorth")
    assert misfits[("block1", "inputs of a neuron")] == (400, 256)
    assert misfits[("block2", "different weights of a neuron")][1] == 4
    assert str(check_chip(network, "truenorth")[0]) == (
        "block1: 400 inputs of a neuron; the chip has 256"
    )


def test_cores_and_bytes_are_added_up(network):
    few = Chip("a.test", cores=4, core_neurons=500, core_bytes=1000)
    misfits = found(network, few)
    assert misfits[("network", "cores")] == (5, 4)
    weights = 400 * 300 + 300 * 1100 + 1100 * 10
    assert misfits[("network", "bytes")] == (weights + 4 * 1410, 4000)


def test_an_unknown_chip_is_refused(network):
    with pytest.raises(SigpropError, match=r"loihi-3.*loihi-2"):
        check_chip(network, "loihi-3")
