"""The C file compiles without a warning, and equals the integer network to the bit."""

import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import sigprop_snn as sp
from sigprop_snn.command_line import cli
from sigprop_snn.deploy import fold
from sigprop_snn.fixed_point import (
    Format,
    c_source,
    integer_inputs,
    learner_of,
    quantise,
    write_c,
)
from sigprop_snn.network import NETWORKS

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
FLAGS = (
    "-std=c99 -O1 -Wall -Wextra -Wconversion -Werror "
    "-fsanitize=address,undefined -fno-sanitize-recover=all"
)

pytestmark = pytest.mark.skipif(not COMPILERS, reason="no C compiler (gcc or clang) on the path")

# Reads T, then rows of a label and T steps; writes the spikes of every step, the scores of every
# row, and in the end the weights and biases.
MAIN = """
#include <stdio.h>
static int number(void) { int v = 0; return scanf("%d", &v) == 1 ? v : 0; }
int main(void)
{
    const int rows = number(), steps = number(), every = number();
    int n, t, i;
    (void)every;
    for (n = 0; n < rows; n++) {
        const int label = number();
        (void)label;
        snn_reset();
        for (t = 0; t < steps; t++) {
            uint8_t input[SNN_INPUTS];
            for (i = 0; i < SNN_INPUTS; i++)
                input[i] = (uint8_t)number();
            snn_step(input);
            PRINT_SPIKES
            LEARN
        }
        for (i = 0; i < SNN_CLASSES; i++)
            printf("%d ", (int)snn_score[i]);
        printf("%d ", snn_answer());
    }
    PRINT_WEIGHTS
    return 0;
}
"""


@pytest.fixture(params=COMPILERS)
def compiler(request):
    return request.param


def ran(compiler, folder: Path, given, x, labels, every=0) -> list[int]:
    """Return the numbers that the compiled program prints for samples `[T, B, ...]`."""
    network = getattr(given, "network", given)
    layers = [f"snn_block{index + 1}" for index in range(len(network.layers))]
    spikes, weights = [], []
    for name in layers:
        size = f"(int)(sizeof {name}_spike)"
        spikes.append(f'for (i = 0; i < {size}; i++) printf("%d ", {name}_spike[i]);')
    if every:
        for name in (*layers, "snn_readout"):
            for part in ("weight", "bias"):
                array = f"{name}_{part}"
                size = f"(int)(sizeof {array} / sizeof {array}[0])"
                weights.append(f'for (i = 0; i < {size}; i++) printf("%d ", (int){array}[i]);')
    learn = "if ((t + 1) % every == 0 || t + 1 == steps) snn_learn(label);" if every else ""
    main = MAIN.replace("PRINT_SPIKES", "\n".join(spikes)).replace("LEARN", learn)
    source = folder / "main.c"
    source.write_text(c_source(given) + main.replace("PRINT_WEIGHTS", "\n".join(weights)))
    program = folder / "main"
    built = subprocess.run(
        [compiler, *FLAGS.split(), str(source), "-o", str(program)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    lines = [f"{x.shape[1]} {len(x)} {every}"]
    for row in range(x.shape[1]):
        lines += [
            str(int(labels[row])),
            *(" ".join(map(str, step)) for step in x[:, row].flatten(1).tolist()),
        ]
    done = subprocess.run([str(program)], input="\n".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def expected(runs, scores) -> list[int]:
    """Return the numbers for spikes `[T, ...]` by layer, of every row, and its scores."""
    found = []
    for layers, row in zip(runs, scores, strict=True):
        for step in zip(*layers, strict=True):
            for spikes in step:
                found += spikes.flatten().tolist()
        found += row.tolist()
        found.append(int(row.argmax()))
    return found


def numbers(tensors) -> list[int]:
    return [value for tensor in tensors for value in tensor.flatten().tolist()]


@pytest.mark.parametrize(("levels", "every"), [(255, 5), (1, 2)])
def test_learning_equals_the_integer_learner_to_the_bit(
    compiler, every, case, levels, learner_of, samples_of, tmp_path
):
    learns, x, labels = learner_of(case, levels), *samples_of(12, levels)
    found = ran(compiler, tmp_path, learns, x, labels, every)
    runs, scores = [], []
    for row in range(x.shape[1]):
        one = x[:, row : row + 1]
        run = learns.network.run(one)
        if every >= len(x):
            runs.append([spikes[:, 0] for spikes in run.spikes])
        scores.append(learns.learn(one, labels[row : row + 1], every=every).scores[0])
    layers = [*learns.network.layers, learns.network.readout]
    pairs = zip(learns.stored, layers, strict=True)
    weights = numbers([each for stored, layer in pairs for each in (stored.t(), layer.bias)])
    assert found[-len(weights) :] == weights
    if runs:  # the weights stay as they are during a sample
        assert found == [*expected(runs, scores), *weights]


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_inference_equals_the_integer_network_to_the_bit(compiler, kind, tmp_path):
    torch.manual_seed(2)
    build = {
        "mlp": lambda: sp.mlp((1, 8, 8), 3, hidden=(9, 7)),
        "conv": lambda: sp.conv((1, 9, 8), 3, channels=(4, 5, 3), kernel=3),
    }
    network = build[kind]()
    x, labels = (torch.rand(4, 6, *network.sample_shape) * 255).round() / 255, torch.arange(6) % 3
    network.learn(x, labels)
    integers = quantise(fold(network.eval()), Format(6))
    given = integer_inputs(x, 255)
    run = integers.run(given)
    runs = [[spikes[:, row] for spikes in run.spikes] for row in range(6)]
    assert ran(compiler, tmp_path, integers, given, labels) == expected(runs, run.scores)
    assert all(int(spikes.sum()) for spikes in run.spikes)


@pytest.mark.parametrize("before", [0, 5], ids=["from the start", "between two refreshes"])
def test_a_trained_network_goes_on_learning_in_c(compiler, tmp_path, before):
    torch.manual_seed(3)
    network = sp.mlp((1, 4, 4), 3, hidden=(9, 7))
    x, labels = (torch.rand(6, 9, 1, 4, 4) * 3).round(), torch.arange(9) % 3
    network.learn(x, labels)
    learns = learner_of(network.eval(), levels=1, steps=6)
    learns.rule = replace(learns.rule, refresh=16)
    given = integer_inputs(x, 1)
    for row in range(before):
        learns.learn(given[:, row : row + 1], labels[row : row + 1])
    found = ran(compiler, tmp_path, learns, given, labels, 6)
    for row in range(9):
        learns.learn(given[:, row : row + 1], labels[row : row + 1])
    last = numbers([learns.network.readout.bias])
    assert found[-3:] == last


def test_a_run_is_exported_by_the_command(compiler, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETWORKS, "mlp", partial(sp.mlp, hidden=(40, 30)))  # a short C file
    folder = tmp_path / "run"
    sp.train(
        sp.TrainConfig(
            "digits", epochs=1, steps=3, train_samples=64, test_samples=32, out=str(folder)
        ),
        say=lambda line: None,
    )
    for more in ([], ["--learn", "--bits", "4", "--out", "small.c"]):
        assert cli.main(["export", str(folder), "--format", "c", *more]) == 0
    assert "network.c" in capsys.readouterr().out
    for file in (folder / "network.c", Path("small.c")):
        subprocess.run(
            [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", file], check=True
        )
    assert "weights of 4 bits" in Path("small.c").read_text()
    assert "snn_learn" not in (folder / "network.c").read_text()


def test_the_head_states_the_memory_that_the_compiler_gives(learner_of, case, levels, tmp_path):
    learns = learner_of(case, levels)
    written = write_c(learns, tmp_path / "network.c", name="a */ b")
    text = written.read_text()
    state = int(text.split("Memory that is written: ")[1].split(" bytes")[0])
    assert "a * / b" in text
    built = tmp_path / "network.o"
    subprocess.run(
        [COMPILERS[0], "-std=c99", "-Os", "-c", str(written), "-o", str(built)], check=True
    )
    size = shutil.which("size")
    if size is None:
        pytest.skip("no program `size`, which prints the sections of an object file")
    row = subprocess.run([size, str(built)], capture_output=True, text=True).stdout.split("\n")[1]
    data, bss = (int(word) for word in row.split()[1:3])
    assert state <= data + bss <= state + 64 * 40  # arrays are aligned


def test_shapes_of_layers_follow_pools_and_kernels():
    network = quantise(fold(sp.conv((1, 17, 16), 3, channels=(2, 3, 4), kernel=5)))
    assert network.shapes() == [
        ((1, 17, 16), (2, 17, 16), (2, 8, 8)),
        ((2, 8, 8), (3, 8, 8), (3, 4, 4)),
        ((3, 4, 4), (4, 4, 4), (4, 4, 4)),
    ]
