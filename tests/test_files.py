"""Files are written in full, or not at all."""

import os
import re
import resource
import signal

import pytest

from sigprop_snn.errors import SigpropError
from sigprop_snn.files import check_folder, write_atomically, write_text_atomically


def test_a_file_is_replaced_and_readable_by_all(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    assert write_text_atomically(target, "new, ü") == target
    assert target.read_text(encoding="utf-8") == "new, ü"
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_the_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    target, found = tmp_path / "file", []

    def flushed(handle):
        found.append((os.pread(handle, 9, 0), target.exists()))

    monkeypatch.setattr(os, "fsync", flushed)
    write_text_atomically(target, "new")
    assert found == [(b"new", False)]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_halfway_leaves_the_old_file_alone(tmp_path, error):
    target = tmp_path / "file"
    target.write_text("old")

    def half(path):
        path.write_text("ne")
        raise error

    with pytest.raises(error):
        write_atomically(target, half)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_named_and_leaves_the_old_file_alone(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(SigpropError, match=re.escape(str(target)) + ".*File too large"):
            write_atomically(target, lambda path: path.write_bytes(bytes(10_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_name_ends_as_the_final_one(tmp_path):
    seen = []
    write_atomically(tmp_path / "picture.png", lambda path: seen.append(path.name))
    assert seen[0].startswith(".picture.png.")
    assert seen[0].endswith(".png")


def test_missing_folders_are_made_on_request_alone(tmp_path):
    target = tmp_path / "a" / "b" / "file"
    with pytest.raises(SigpropError, match=re.escape(str(target)) + ".*No such file"):
        write_text_atomically(target, "x")
    assert list(tmp_path.iterdir()) == []
    write_atomically(target, lambda path: path.write_text("x"), make_folders=True)
    assert target.read_text() == "x"


@pytest.mark.parametrize("name", ["x" * 300, "file/under"])
def test_an_impossible_name_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(SigpropError, match=r"file|xxx"):
        write_atomically(tmp_path / name, lambda path: None, make_folders=True)


def test_a_folder_that_is_missing_and_a_folder_in_place_of_a_file_are_named(tmp_path):
    (tmp_path / "taken").mkdir()
    for target, expected in (
        (tmp_path / "none" / "a.txt", "expected that the folder .*none.* exists"),
        (tmp_path / "taken", "expected the name of a file, not of a folder"),
    ):
        with pytest.raises(SigpropError, match=expected):
            write_text_atomically(target, "text")
    with pytest.raises(SigpropError, match="expected that the folder"):
        check_folder(tmp_path / "none" / "a.txt")
