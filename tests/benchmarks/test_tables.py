"""What the two tables share: samples, the loop, rows and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import cases, neurotrain, tables
from sigprop_snn.errors import SigpropError

SMALL = ["--dry", "--datasets", "mnist", "--rules", "voltage"]


def run(*given: str) -> None:
    tables.main(neurotrain.TABLE, neurotrain.__file__, [*SMALL, *given])


def test_an_epoch_has_every_sample_once_and_shifts_it_if_asked():
    x = torch.arange(8 * 36, dtype=torch.int32).view(8, 1, 6, 6)
    samples = cases.Samples(x, torch.arange(8), scale=2.0, offset=1.0)
    batches = list(samples.epoch(3, 4, torch.Generator().manual_seed(0)))
    assert [inputs.shape for inputs, _ in batches] == 2 * [(3, 4, 1, 6, 6)]
    labels = torch.cat([labels for _, labels in batches])
    assert sorted(labels.tolist()) == list(range(8))
    inputs = torch.cat([inputs for inputs, _ in batches], dim=1)
    assert torch.equal(inputs[2], 2.0 * x[labels] + 1.0)
    moved = cases.Samples(x, torch.arange(8), shift=2)
    (inputs, labels), *_ = moved.epoch(3, 8, torch.Generator().manual_seed(0))
    assert not torch.equal(inputs[0], x[labels].float())


def test_frames_keep_their_steps_and_all_steps_shift_alike():
    x = torch.zeros(2, 3, 2, 6, 6, dtype=torch.uint8)
    x[:, :, :, 2, 2] = torch.arange(1, 7, dtype=torch.uint8).view(3, 2)
    samples = cases.Samples(x, torch.arange(2), shift=1)
    (inputs, _), *_ = samples.epoch(10, 2, torch.Generator().manual_seed(0))
    assert inputs.shape == (3, 2, 2, 6, 6) and samples.shape == (2, 6, 6)
    for row in range(2):
        (place,) = {tuple(where[-2:].tolist()) for where in inputs[:, row].nonzero()}
        assert inputs[(slice(None), row, slice(None), *place)].flatten().tolist() == [
            1,
            2,
            3,
            4,
            5,
            6,
        ]


def test_validation_samples_are_never_learned_from():
    x = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1)
    stored = cases.Stored(x, x.flatten().long(), x[:5], torch.full((5,), 99), 10, 1.0, 0.0, False)
    args = tables.arguments(neurotrain.TABLE, ["--json", "r.json", "--validation", "0.2"])
    case = neurotrain.case(args, "mnist", "voltage", 0)
    data = cases.chosen(stored, case, torch.device("cpu"))
    assert len(data.held_out.y) == 4
    assert sorted([*data.train.y.tolist(), *data.held_out.y.tolist()]) == list(range(20))


def test_a_data_set_is_read_once_into_the_cache(monkeypatch, tmp_path):
    x, y = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.arange(2)
    calls = []

    def read(*given):
        calls.append(given)
        return cases.Stored(x, y, x, y, 10, 0.5, 0.0, False)

    monkeypatch.setattr(cases, "read", read)
    for _ in range(2):
        found = cases.cached("mnist", tmp_path, 0, tmp_path / "cache")
        assert torch.equal(found.train_x, x) and found.scale == 0.5
    assert calls == [("mnist", tmp_path, 0)]


def test_a_constant_is_moved_to_the_device_once():
    constants = tables.ConstantsOnDevice()
    with constants:
        first = torch.tensor([1.0, 2.0], dtype=torch.float64).to("meta", torch.float32)
        again = torch.tensor([1.0, 2.0], dtype=torch.float64).to("meta", torch.float32)
        torch.tensor([1.0, 3.0], dtype=torch.float64).to("meta", torch.float32)
        torch.tensor([1.0, 2.0]).to(torch.float64)
    assert len(constants.kept) == 2
    assert first.device == again.device == torch.device("meta")
    assert again.dtype == torch.float32


def test_the_minutes_end_a_run_and_the_rows_are_kept(tmp_path, capsys):
    path = tmp_path / "rows.json"
    run("--json", str(path))
    before = json.loads(path.read_text())
    assert len(before) == 1
    run("--json", str(path), "--rules", "ottt", "--minutes", "0")
    assert json.loads(path.read_text()) == before
    assert "mnist, ottt, seed 0" in capsys.readouterr().out


def test_files_of_rows_are_merged_without_repetition(tmp_path, capsys):
    parts = [tmp_path / f"{rule}.json" for rule in ("voltage", "ottt")]
    for part in parts:
        run("--json", str(part), "--rules", part.stem)
    both = tmp_path / "both.json"
    run("--json", str(both), "--merge", *map(str, [*parts, parts[0]]))
    assert [row["rule"] for row in json.loads(both.read_text())] == ["voltage", "ottt"]
    assert "| ottt |" in capsys.readouterr().out


def test_processes_share_the_cases(monkeypatch, tmp_path):
    """The processes run here, one after the other; each is a call with its arguments."""

    class Process:
        returncode = 0

        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            assert Path(command[1]) == Path(neurotrain.__file__)
            tables.main(neurotrain.TABLE, command[1], command[2:])

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(tables.subprocess, "Popen", Process)
    path = tmp_path / "rows.json"
    run("--json", str(path), "--rules", "ottt", "voltage", "--jobs", "2")
    assert [row["rule"] for row in json.loads(path.read_text())] == ["ottt", "voltage"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_rule_whose_step_is_no_graph_runs_without_in_a_new_process(monkeypatch, tmp_path):
    def no_graph(*args, **options):
        raise tables.NotCapturedError("not permitted")

    started = []

    class StartedError(Exception):
        pass

    def start(script, given):
        started.append(given)
        raise StartedError

    monkeypatch.setattr(tables, "train", no_graph)
    monkeypatch.setattr(tables, "start_anew", start)
    with pytest.raises(StartedError):
        run("--json", str(tmp_path / "rows.json"), "--eager", "hebbian")
    assert started[0][-3:] == ["--eager", "hebbian", "voltage"]


@pytest.mark.parametrize("error", [RuntimeError, SigpropError])
def test_a_step_that_fails_before_its_capture_is_no_graph(monkeypatch, error):
    def failing(*batch):
        raise error("not permitted\nmore")

    monkeypatch.setattr(tables, "GraphedStep", lambda network, optimizers: failing)
    learn = tables.learner(None, None, graphed=True)
    with pytest.raises(tables.NotCapturedError, match=r"^not permitted$"):
        learn(torch.zeros(1), torch.zeros(1))


def test_a_case_is_taken_once_and_again_only_by_its_process(tmp_path):
    assert tables.taken(tmp_path, 3)
    assert not tables.taken(tmp_path, 3)
    tables.run_again(tmp_path, 3)
    assert tables.taken(tmp_path, 3)
