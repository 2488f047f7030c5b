"""The examples run as scripts, and a tutorial shows what they hold."""

import ast
import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))

DATA = os.environ.get("SIGPROP_DATA", "-")
needs_data = pytest.mark.skipif(not Path(DATA).is_dir(), reason="SIGPROP_DATA names no data folder")

pytestmark = pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")


def run(name: str, *arguments: str) -> None:
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    finally:
        sys.argv = before


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        run(name, "--help")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_digits_and_its_events(capsys):
    run("digits.py", "--quick")
    run("digits.py", "--quick", "--events", "--rule", "surrogate")
    assert capsys.readouterr().out.count("epoch 1: test accuracy 0.") == 2


def test_a_stream_is_learned_as_it_comes(capsys):
    run("streaming.py", "--quick")
    assert "step 240: 0." in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on the path")
def test_a_c_program_learns_from_events(capsys):
    run("chip.py", "--quick")
    shown = [float(line.split()[-3]) for line in capsys.readouterr().out.splitlines()]
    assert len(shown) == 10
    assert max(shown[-5:]) > 35.0 > shown[0]  # chance is 10


@needs_data
@pytest.mark.parametrize("name", ["mnist.py", "nmnist.py"])
def test_examples_on_data_that_must_be_there(tmp_path, name, capsys):
    run(name, "--quick", "--data-root", DATA, "--out", str(tmp_path / "run"))
    assert "raster.png" in capsys.readouterr().out


@needs_data
def test_colour_pictures(capsys):
    run("cifar10.py", "--quick", "--maps", "8", "--folder", str(Path(DATA, "cifar10-jpeg")))
    assert "epoch 1: test accuracy 0." in capsys.readouterr().out


def test_a_neuron_and_a_surrogate_of_ones_own_learn(capsys):
    run("custom_neuron.py", "--quick")
    last = capsys.readouterr().out.split()[-1]
    assert float(last) > 0.7


def test_neurons_are_compared_in_a_picture(tmp_path):
    run("compare_neurons.py", "--quick", "--out", str(tmp_path / "neurons.png"))
    assert (tmp_path / "neurons.png").stat().st_size > 10_000


def test_digits_are_learned_and_drawn(tmp_path, capsys):
    run("predictive_forward_forward.py", "--quick", "--out", str(tmp_path / "drawn.png"))
    assert (tmp_path / "drawn.png").stat().st_size > 5_000
    assert "epoch 5: test accuracy 0." in capsys.readouterr().out


def test_the_evidence_is_measured_and_drawn(tmp_path, capsys):
    out, file = tmp_path / "evidence.png", tmp_path / "angles.json"
    other = {"dataset": "digits", "rule": "voltage", "seed": 1}
    file.write_text(json.dumps([{**other, "seed": 0}, other]))
    run("evidence.py", "--quick", "--out", str(out), "--json", str(file))
    said = capsys.readouterr().out
    assert "block1: " in said and "block2: " in said and "degrees" in said
    assert out.stat().st_size > 10_000
    kept, row = json.loads(file.read_text())
    assert (kept, row["seed"]) == (other, 0)
    for layer, degrees in row["mean_degrees"].items():
        assert f"{layer}: {degrees:.1f} degrees" in said
        assert min(row["batch_degrees"][layer]) <= degrees <= max(row["batch_degrees"][layer])


def bare(code: str) -> list[str]:
    """The classes of some code, without docstrings, in one form."""
    classes = [node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    for owner in classes:
        for node in [owner, *[part for part in owner.body if isinstance(part, ast.FunctionDef)]]:
            if ast.get_docstring(node) is not None:
                del node.body[0]
    return [ast.unparse(owner) for owner in classes]


def test_the_tutorials_neuron_and_surrogate_are_the_examples():
    tutorial = (ROOT / "docs/tutorials/tutorial_3_own_neuron.py").read_text(encoding="utf-8")
    shown = bare(tutorial.replace("sp.", ""))
    assert shown[:2] == bare((ROOT / "examples/custom_neuron.py").read_text(encoding="utf-8"))
