"""What a report reads from a run folder and measures on its network."""

import json
import shutil

import pytest
import torch

from sigprop_snn.report.measure import Confusion, confusion_of, read_contents


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[1, 2]", b"\xff\x00", b"[" * 10**5])
def test_a_damaged_file_gives_a_note_and_the_others_are_read(tmp_path, run, name, content):
    copy = tmp_path / "run"
    shutil.copytree(run.folder.path, copy)
    intact = read_contents(copy)
    assert intact.notes == []
    assert intact.history == run.history
    (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
    found = read_contents(copy)
    lost = {"config.json": "config", "metrics.jsonl": "history", "summary.json": "summary"}[name]
    assert not getattr(found, lost)
    for part in {"config", "history", "summary"} - {lost}:
        assert getattr(found, part) == getattr(intact, part)
    # A run has no summary until it ends, and no metrics until its first epoch ends.
    expected = (name, content) in (("summary.json", None), ("metrics.jsonl", b""))
    assert (found.notes == []) == expected
    assert all(note.startswith((name, f"a line of {name}")) for note in found.notes)


def test_hidden_files_are_not_listed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    (tmp_path / ".config.json.x").write_text("")
    assert [file.name for file in read_contents(tmp_path).files] == ["config.json"]


def test_ties_are_in_no_column_and_count_as_wrong():
    class Network(torch.nn.Linear):
        def forward(self, inputs):
            return inputs.mean(0)

    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = confusion_of(Network(1, 1), [(scores[None], torch.tensor([0, 1, 0, 1]))], 3)
    assert found.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert found.ties.tolist() == [1, 1, 0]
    assert found.samples == 4
    assert found.accuracy == 0.25
    assert Confusion(torch.zeros(2, 2), torch.zeros(2)).accuracy == 0.0
