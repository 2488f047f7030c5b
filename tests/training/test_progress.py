"""A person sees a bar over the whole run, and a word for each long wait."""

from __future__ import annotations

import io
import sys
import time

import pytest

from sigprop_snn.training import TrainConfig, progress, train


class Terminal(io.StringIO):
    """Text that claims to be a terminal."""

    def isatty(self):
        return True


def quiet(_):
    """Ignore a line."""


def small(out):
    return TrainConfig(
        "digits", out=out, epochs=2, steps=3, batch_size=20, train_samples=60, test_samples=20,
        device="cpu",
    )  # fmt: skip


def test_the_bar_counts_the_batches_of_all_epochs_and_tests(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    train(small(tmp_path / "run"), quiet)
    shown = terminal.getvalue()
    assert "/8 [" in shown  # two epochs of three batches to learn from and one to test on
    for words in ("epoch 1/2:", "epoch 2/2, testing:"):
        assert words in shown


def test_a_pipe_gets_no_bar(tmp_path, capfd):
    train(small(tmp_path / "run"), quiet)
    assert "epoch" not in capfd.readouterr().err


@pytest.mark.parametrize("slow", [True, False])
def test_a_wait_gets_a_word_only_if_it_is_long(monkeypatch, slow):
    monkeypatch.setattr(progress, "SOON", 0.01 if slow else 60)
    said = []
    with progress.waiting(said.append, "reading"):
        deadline = time.monotonic() + 10
        while slow and not said and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said == (["reading"] if slow else [])


def test_long_waits_of_a_run_are_named_once(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SOON", 0)
    said = []
    train(small(tmp_path / "run"), said.append)
    words = " ".join(said)
    assert "reading digits" in words
    assert words.count("testing on 20 samples") == 1
    assert words.count("preparing kernels") == 1
