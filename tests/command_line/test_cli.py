"""The command line."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import tyro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sigprop_snn
from sigprop_snn.command_line import cli, train_flags
from sigprop_snn.command_line.cli import main
from sigprop_snn.command_line.output import Output
from sigprop_snn.neurons import NEURONS
from sigprop_snn.rules import RULES
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training import (
    OPTIMIZERS,
    SCHEDULES,
    LocalOptimizers,
    TrainConfig,
    load_checkpoint,
)
from sigprop_snn.version import version

TINY = ["--epochs", "1", "--train-samples", "60", "--test-samples", "20", "--steps", "4"]


@pytest.mark.parametrize("dataset", ["digits", "digit-events"])
def test_train_leaves_a_run_with_its_figures(tmp_path, capsys, dataset):
    out = tmp_path / "run"
    assert main(["train", dataset, *TINY, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt", "config.json", "figures", "metrics.jsonl", "summary.json",
    }  # fmt: skip
    assert {path.name for path in (out / "figures").iterdir()} == {
        "curves.png", "raster.png", "voltage.png",
    }  # fmt: skip
    said = capsys.readouterr()
    accuracy = json.loads((out / "summary.json").read_text())["test_accuracy"]
    assert f"test accuracy {100 * accuracy:.2f} %" in said.out
    assert "epoch 1/1" in said.out
    assert "%|" not in said.err  # no progress bar without a terminal


def test_flags_reach_the_run(tmp_path, no_figures):
    out = tmp_path / "run"
    flags = [
        "--rule",
        "surrogate",
        "--network",
        "conv",
        "--encoding",
        "rate",
        "--predict",
        "subset",
        "--seed",
        "3",
    ]
    assert main(["train", "digits", *TINY, *flags, "--batch-size", "16", "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["rule"], config["network"], config["encoding"]) == ("surrogate", "conv", "rate")
    assert (config["predict"], config["seed"], config["batch_size"]) == ("subset", 3, 16)


def test_a_network_without_spikes_leaves_its_figures_too(tmp_path):
    out = tmp_path / "run"
    flags = ["--neuron", "rate", "--steps", "1", "--out", str(out)]
    assert main(["train", "digits", *TINY[:-2], *flags]) == 0
    # Of one step there is no course of the voltage.
    assert {path.name for path in (out / "figures").iterdir()} == {"curves.png", "raster.png"}


def test_a_refusal_is_one_line_without_a_traceback(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "digit-event", *TINY, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sigprop-snn: ") and "'digit-event'" in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_missing_data_are_named_with_their_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tonic.datasets.NMNIST.download", _no_network)
    out = tmp_path / "run"
    assert main(["train", "nmnist", "--data-root", str(tmp_path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "NMNIST" in said
    assert str(tmp_path) in said
    assert not out.exists()


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_list_describes_every_name(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [
        *NEURONS,
        *SURROGATES,
        *RULES,
        *OPTIMIZERS,
        *SCHEDULES,
        "digits",
        "nmnist",
        "conv",
        "latency",
        "subset",
    ]
    for name in names:
        found = [line for line in lines if line.split()[0] == name and line.startswith("  ")]
        assert found, name
        assert all(len(line.split()) > 2 for line in found), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "digits", *TINY, "--network", "conv", "--out", str(out)]) == 0
    return out


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights(run):
    return load_checkpoint(run / "checkpoint.pt")["network"]


def test_evaluate_prints_the_results_in_the_summary_and_writes_nothing(finished, capsys):
    before = content_of(finished)
    assert main(["evaluate", str(finished)]) == 0
    summary = json.loads((finished / "summary.json").read_text())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["network", f"{100 * summary['test_accuracy']:.2f}"] in lines
    for layer in summary["layers"]:
        numbers = [layer[key] for key in ("accuracy", "spike_rate", "dead_fraction")]
        assert [layer["name"], *[f"{100 * number:.2f}" for number in numbers]] in lines
    assert content_of(finished) == before


def test_evaluate_writes_its_results_to_a_new_file_only(finished, tmp_path, capsys):
    out = tmp_path / "results.json"
    assert main(["evaluate", str(finished), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    summary = json.loads((finished / "summary.json").read_text())
    assert found["test_accuracy"] == summary["test_accuracy"]
    assert found["layers"] == summary["layers"]
    assert main(["evaluate", str(finished), "--out", str(out)]) == 2
    assert str(out) in capsys.readouterr().err
    assert json.loads(out.read_text()) == found


def test_plot_draws_the_same_figures_again(finished, tmp_path, capsys):
    run = shutil.copytree(finished, tmp_path / "run")
    drawn = content_of(run / "figures")
    shutil.rmtree(run / "figures")
    assert main(["plot", str(run)]) == 0
    assert content_of(run / "figures") == drawn
    assert capsys.readouterr().out.splitlines() == [
        str(run / "figures" / name) for name in ("raster.png", "voltage.png", "curves.png")
    ]
    assert main(["plot", str(run), "--sample", "20"]) == 2
    assert "sample is 20" in capsys.readouterr().err


def test_a_saved_config_repeats_the_run_and_flags_override_it(finished, tmp_path, no_figures):
    config, same, other = str(finished / "config.json"), tmp_path / "same", tmp_path / "other"
    assert main(["train", "--config", config, "--out", str(same)]) == 0
    for name, value in weights(finished).items():
        assert torch.equal(value, weights(same)[name]), name
    assert (same / "config.json").read_text() == (finished / "config.json").read_text()
    flags = ["--network", "mlp", "--seed", "4", "--train-samples", "20", "--out", str(other)]
    assert main(["train", "digit-events", f"--config={config}", *flags]) == 0
    found, was = (json.loads((run / "config.json").read_text()) for run in (other, finished))
    changed = {"dataset": "digit-events", "network": "mlp", "seed": 4, "train_samples": 20}
    assert found == was | changed


def test_a_wrong_config_is_refused(tmp_path, capsys):
    config = tmp_path / "mine.json"
    config.write_text('{"dataset": "digits", "epocs": 3}')
    assert main(["train", "--config", str(config), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in (str(config), "'epocs'", "'epochs'"))
    assert not (tmp_path / "run").exists()


NAMES = ["", "a", "volts", "None", "True", "-1", "0", "1", "1.5", "1e400", "nan", "9" * 400, "x/y"]
FLAGS = [f"--{name.replace('_', '-')}" for name in TrainConfig.__dataclass_fields__]


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    flag=st.sampled_from([*FLAGS, "--config", "--epocs"]),
    values=st.lists(st.sampled_from(NAMES) | st.text("ab1.-= é", max_size=6), max_size=2),
)
def test_any_flag_is_accepted_or_refused_with_a_message(
    tmp_path, monkeypatch, capsys, flag, values
):
    """The test ends before the data would be loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sigprop_snn.training.train", lambda config, **_: config.resolved())
    monkeypatch.setattr(
        "sigprop_snn.command_line.commands._finish", lambda config: print("accepted")
    )
    try:
        code = main(["train", "digits", flag, *values])
    except SystemExit as refused:
        code = refused.code
    said = capsys.readouterr()
    if code == 0:
        assert said.out == "accepted\n"
    else:
        assert code == 2
        assert said.err.strip()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot"])
@pytest.mark.parametrize("name", ["", "x" * 5000, "file/run"])
def test_a_name_that_is_no_folder_is_refused(tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main([command, name]) == 2
    assert capsys.readouterr().err.startswith(("sigprop-snn: no run at", "sigprop-snn: run folder"))


def test_files_that_cannot_be_written_are_named(finished, tmp_path, capsys):
    run = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(run / "figures")
    (run / "figures").write_text("a file")
    assert main(["plot", str(run)]) == 2
    assert "figures" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--out", str(tmp_path / "no" / "such.json")]) == 2
    assert "such.json'" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--out", "x" * 5000]) == 2
    assert "xxx" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot"])
def test_a_folder_without_a_run_is_refused(tmp_path, capsys, command):
    assert main([command, str(tmp_path)]) == 2
    assert repr(str(tmp_path)) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_a_used_run_folder_shows_how_to_continue(finished, capsys):
    assert main(["train", "digits", *TINY, "--out", str(finished)]) == 2
    assert f"sigprop-snn resume {shlex.quote(str(finished))}" in capsys.readouterr().err


def test_the_help_needs_neither_torch_nor_matplotlib():
    program = """
import sys
from sigprop_snn.command_line.cli import main
try:
    main(["train", "--help"])
except SystemExit:
    print(sorted({"torch", "matplotlib", "numpy"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--learning-rate" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_help_of_train_groups_every_flag(capsys):
    assert {name for names in train_flags.GROUPS.values() for name in names} == {
        field.name for field in fields(TrainConfig)
    }
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    boxes = [said.index(f"{name} options") for name in train_flags.GROUPS]
    assert said.index("--steps") > min(boxes)
    assert "passes over the training samples" in said  # the settings' own descriptions
    assert "the data set (`sigprop-snn list`" in said
    assert said.count("sigprop-snn train ") > 2  # the usage and two examples


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["trian", "digits"], "'train'"),
        (["train", "MNIST"], "'mnist'"),
        (["train", "digits", "--lr", "3"], "--learning-rate"),
        (["train", "digits", "--learning_rte=3"], "--learning-rate"),
        (["train", "digits", "--data", "d"], "--data-root"),
        (["evaluate", "runs/x", "--devise", "cpu"], "--device"),
        (["compare", "digits", "--size", "8x8"], "sp.Frames(size="),
        (["compare", "digits", "--encoding", "rate"], "sp.load(name, encoding="),
        (["compare", "digits", "--batch-size", "8"], "every rule"),
        (["compare", "digits", "--seed", "1"], "--seeds"),
        (["resume", "runs/x", "--rule", "voltage"], "train --config RUN/config.json --rule"),
        (["export", "runs/x", "--learn"], "--learn is for --format c; the format is nir"),
        (["compare", "digits", "--rules", "voltage", "surrogate"], "voltage,surrogate"),
        (["compare", "--rules", "voltage", "surrogate", "digits"], "voltage,surrogate"),
    ],
)
def test_a_typo_of_a_command_or_flag_gets_a_suggestion(typed, meant, capsys):
    assert main(typed) == 2
    said = capsys.readouterr().err
    assert meant in said
    assert said.count("\n") == 1


def test_a_missing_data_set_is_called_dataset(capsys):
    with pytest.raises(SystemExit):
        main(["train"])
    assert "DATASET" in capsys.readouterr().err


def test_no_color_is_respected(monkeypatch, capsys):
    monkeypatch.setattr(Output, "isatty", lambda self: True)
    monkeypatch.setenv("TERM", "xterm")
    options = dict(tyro._experimental_options)
    try:
        for colour in ("", "1"):
            monkeypatch.setenv("NO_COLOR", colour)
            with pytest.raises(SystemExit):
                main(["train", "--help"])
            assert ("\x1b[" in capsys.readouterr().out) == (not colour)
    finally:
        tyro._experimental_options.update(options)


def test_a_terminal_is_told_that_imports_take_long(monkeypatch, capsys):
    monkeypatch.setattr(Output, "isatty", lambda self: True)
    # A timer that is over at once: imports are fast the second time.
    monkeypatch.setattr(cli.threading.Timer, "start", lambda self: self.function(*self.args))
    main(["evaluate", "no-such-run"])
    assert "loading PyTorch" in capsys.readouterr().err


def test_quiet_prints_the_result_and_no_epoch(tmp_path, capsys, no_figures):
    assert main(["train", "digits", *TINY, "-q", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "epoch" not in said
    assert "test accuracy" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_and_ends_the_program(
    tmp_path, capsys, monkeypatch, no_figures, number
):
    out, step, sent = tmp_path / "two words", LocalOptimizers.step, []

    def step_and_send(*given):
        if (out / "metrics.jsonl").exists() and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return step(*given)

    monkeypatch.setattr(LocalOptimizers, "step", step_and_send)
    command = ["train", "digits", *TINY, "--epochs", "500", "--out", str(out)]
    assert main(command) == 128 + number
    said = capsys.readouterr().err
    assert said.startswith("sigprop-snn: stopped in epoch 2"), said
    assert said.rstrip().endswith(f"sigprop-snn resume {shlex.quote(str(out))}")
    assert said.count("\n") == 1
    assert main(["evaluate", str(out)]) == 0
    assert "of 500" in capsys.readouterr().out


def test_python_m_runs_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "sigprop_snn", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"sigprop-snn {version()}\n"


def test_the_version_of_a_clone_is_in_its_setup_cfg():
    setup = Path(sigprop_snn.__file__).parent.parent / "setup.cfg"
    if not setup.exists():
        pytest.skip("the package is installed without its setup.cfg")
    assert f"\nversion = {version()}\n" in setup.read_text(encoding="utf-8")


def test_the_version_of_an_installed_package_is_that_of_its_distribution(tmp_path, monkeypatch):
    monkeypatch.setattr("sigprop_snn.version.__file__", str(tmp_path / "sigprop_snn/version.py"))
    monkeypatch.setattr("sigprop_snn.version.installed_version", lambda name: f"{name} 9.8.7")
    assert version() == "sigprop-snn 9.8.7"


def test_a_run_is_evaluated_in_its_own_precision(tmp_path, capsys, no_figures):
    run = tmp_path / "run"
    given = "--epochs 1 --steps 3 --train-samples 200 --precision bf16 --device cpu --out"
    assert main(["train", "digits", *given.split(), str(run)]) == 0
    assert main(["evaluate", str(run), "--out", str(tmp_path / "again.json")]) == 0
    summary, again = (
        json.loads(f.read_text()) for f in (run / "summary.json", tmp_path / "again.json")
    )
    assert again["test_accuracy"] == summary["test_accuracy"]
