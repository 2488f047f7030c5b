from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from sigprop_snn.data import EventFileError, read_events
from sigprop_snn.processes import isolated_reader
from sigprop_snn.processes.isolated_reader import FileFaultError, IsolatedReader, read_isolated

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader whose child answers with no arrays, crashes for `bad`, hangs for `interrupted`."""
    script = tmp_path / "reader.py"
    script.write_text(
        "import json, os, signal, sys\n"
        "header = json.dumps({'arrays': []}).encode()\n"
        "for line in sys.stdin.buffer:\n"
        "    file = json.loads(line)['arguments'][0]\n"
        "    if 'bad' in file: os.abort()\n"
        "    if 'interrupted' in file: os.kill(os.getppid(), signal.SIGALRM); sys.stdin.read()\n"
        "    sys.stdout.buffer.write(len(header).to_bytes(8, 'little') + header)\n"
        "    sys.stdout.flush()\n"
    )
    monkeypatch.setattr(isolated_reader, "_SCRIPT", script)
    made = IsolatedReader()
    yield made
    made.close()


def write_recording(file, number):
    with h5py.File(file, "w") as content:
        for name in "xytp":
            content[name] = np.full(5 + number, number if name == "x" else 0)
    return file


def test_a_crash_of_a_library_costs_one_file(tmp_path, reader):
    assert reader.read(tmp_path / "good", "hdf5_events") == []
    for _ in range(2):
        with pytest.raises(FileFaultError, match=r"the file can't be read .* code -6"):
            reader.read(tmp_path / "bad", "hdf5_events")
        assert reader.read(tmp_path / "good", "hdf5_events") == []
    assert reader.close() == 0


def test_a_recording_that_crashes_the_library_is_named(tmp_path, reader, monkeypatch):
    monkeypatch.setattr(isolated_reader, "_reader", reader)
    (tmp_path / "bad.h5").write_bytes(b"1")
    message = r"event file .*bad\.h5 can't be read .* code -6.*; expected a complete, .* recording"
    with pytest.raises(EventFileError, match=message):
        read_events(tmp_path / "bad.h5")


def test_a_child_that_ended_while_idle_is_started_again(tmp_path, reader):
    reader.read(tmp_path / "good", "hdf5_events")
    child = reader._process
    child.kill()
    child.wait()
    assert reader.read(tmp_path / "good", "hdf5_events") == []


def test_the_time_limit_of_a_file_ends_with_its_answer():
    code = (
        "import runpy, signal, sys\n"
        f"runpy.run_path({str(isolated_reader._SCRIPT)!r}, run_name='reader')['main']()\n"
        "sys.exit(signal.alarm(0))"
    )
    request = b'{"job": "hdf5_events", "arguments": ["missing", 9]}\n'
    child = subprocess.run([sys.executable, "-c", code], input=request, capture_output=True)
    assert b"missing" in child.stdout
    assert child.returncode == 0, "seconds left"


def test_after_an_interrupt_no_answer_goes_to_the_next_file(tmp_path, reader):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            reader.read(tmp_path / "interrupted", "hdf5_events")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert reader._process is None
    assert reader.read(tmp_path / "good", "hdf5_events") == []


class Recordings:
    """A torch data set as users write it: each item is read from its file."""

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, number):
        events = read_events(self.files[number])
        return len(events), int(events["x"][0])


@needs_fork
def test_forked_workers_do_not_share_the_parents_reader(tmp_path):
    files = [write_recording(tmp_path / f"{i}.h5", i) for i in range(24)]
    expected = [(5 + i, i) for i in range(24)]
    recordings = Recordings(files)
    assert recordings[0] == (5, 0), "this starts the parent's reader"
    context = multiprocessing.get_context("fork")
    loader = DataLoader(
        recordings, num_workers=2, batch_size=None, multiprocessing_context=context, timeout=60
    )
    assert [tuple(item) for item in loader] == expected
    assert [recordings[i] for i in range(24)] == expected, "the parent's reader still works"


@needs_fork
def test_a_forked_process_starts_its_own_reader_and_keeps_the_parents_running(tmp_path):
    file = write_recording(tmp_path / "a.h5", 3)
    read_events(file)
    parents = isolated_reader._reader._process
    receive, send = os.pipe()
    with isolated_reader._reader._lock:  # as if another thread were reading
        pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # seconds, in place of waiting for the lock forever
        try:
            count = len(read_events(file))
            child = isolated_reader._reader._process.pid
            isolated_reader._reader.close()
            os.write(send, f"{count} {child}".encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        count, childs = map(int, answer.read().split())
    os.waitpid(pid, 0)
    assert count == 8
    assert childs != parents.pid
    assert len(read_events(file)) == 8
    assert isolated_reader._reader._process is parents


def test_printed_output_of_a_library_does_not_mix_with_the_answer(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content["names"] = np.array([b"print", b'{"arrays": []}\n'])
    (names,) = read_isolated(tmp_path / "a.h5", "hdf5_values", ["names"], None, 10)
    assert names.tolist() == [b"print", b'{"arrays": []}\n']
