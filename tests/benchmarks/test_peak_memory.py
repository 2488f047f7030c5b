"""The script of the peak memory writes its rows."""

import json
import sys

from benchmarks import peak_memory, tasks


def test_every_choice_has_a_row_in_the_file(monkeypatch, tmp_path, capsys):
    file = tmp_path / "peak_memory.json"
    monkeypatch.setattr(sys, "argv", ["peak_memory.py", "--json", str(file)])
    monkeypatch.setattr(tasks, "WARM_UP", tasks.WARM_UP)
    monkeypatch.setattr(peak_memory, "make", lambda case, device: case)
    monkeypatch.setattr(peak_memory, "peak_memory", lambda case, device: case.depth / 2)
    peak_memory.main()
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert [(row["rule"], row["depth"], row["steps"]) for row in rows] == peak_memory.CHOICES
    assert [row["peak_mib"] for row in rows] == [depth / 2 for _, depth, _ in peak_memory.CHOICES]
    assert capsys.readouterr().out.count("online-voltage") == 3
