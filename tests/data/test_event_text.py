"""Recordings in text and in tables without names."""

from __future__ import annotations

import numpy as np
import pytest

from sigprop_snn.data import EventFileError, Frames, load, read_events
from sigprop_snn.errors import SigpropError

EVENTS = [(2, 3, 10, 1), (3, 4, 50, 0)]
TEXTS = {
    "names": "t,x,y,p\n10,2,3,1\n50,3,4,0\n",
    "a comment": "# made by hand\n# x y t p\n2 3 10 1\n3 4 50 0\n",
    "pandas": ",x,y,timestamp,polarity\n0,2,3,10,True\n1,3,4,50,False\n",
    "semicolons and units": "x;y;t_us;p\n2;3;10;1\n3;4;50;-1\n",
    "tabs, a byte-order mark and CR LF": "\ufefft\tx\ty\tpol\r\n10\t2\t3\t1\r\n50\t3\t4\t0\r\n",
    "units in brackets": "timestamp [us],x [px],y [px],p\n10,2,3,1\n50,3,4,0\n",
    "no names": "10 2 3 1\n50 3 4 0\n",
    "the sensor's size first": "346 260\n10 2 3 1\n50 3 4 0\n",
    "floats": "1e1,2.0,3,1\n5e1,3,4,0\n\n",
}


def rows(events):
    return [tuple(int(value) for value in event) for event in events]


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_text_is_read(tmp_path, kind, suffix):
    file = tmp_path / f"a{suffix}"
    file.write_text(TEXTS[kind], encoding="utf-8")
    assert rows(read_events(file, order="txyp")) == EVENTS


def test_tables_without_names_need_the_order_of_their_columns(tmp_path):
    (tmp_path / "a.txt").write_text(TEXTS["no names"])
    np.save(tmp_path / "a.npy", np.array([[10, 2, 3, 1], [50, 3, 4, 0]]))
    for name in ("a.txt", "a.npy"):
        with pytest.raises(EventFileError, match=r"shape \(2, 4\) without names.*--event-order"):
            read_events(tmp_path / name)
        assert rows(read_events(tmp_path / name, order="txyp")) == EVENTS
        assert rows(read_events(tmp_path / name, order="tyxp"))[0] == (3, 2, 10, 1)
    for order in ("txy", "txyy", "abcd", 4):
        with pytest.raises(SigpropError, match="order is"):
            read_events(tmp_path / "a.npy", order=order)
    np.save(tmp_path / "a.npy", np.zeros((3, 5)))
    with pytest.raises(EventFileError, match=r"shape \(3, 5\)"):
        read_events(tmp_path / "a.npy", order="txyp")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b,c,d\n1,2,3,4\n", "has the columns a, b, c, d"),
        ("x,y,t\n1,2,3\n", "has the columns x, y, t"),
        ("x,y,t,p\n1,2,3\n", "can't be read"),
        ("x,y,t,p\n1,2,3,1\n1,2,here,1\n", "can't be read .*here"),
        ("x,y,t,p\n", "contains no event"),
        ("0.1 2 3 1\n0.2 3 4 0\n", r"t=0\.1.*whole microseconds"),
        ("10 2 9999 1\n", "event 0 with y=9999"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_text_that_is_no_recording_is_refused(tmp_path, text, fault):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(EventFileError, match=fault) as caught:
        read_events(tmp_path / "a.csv", order="txyp")
    assert str(tmp_path / "a.csv") in str(caught.value)


def test_a_folder_may_hold_text_and_notes(tmp_path):
    for split in ("train", "test"):
        for number, name in enumerate("ab"):
            (tmp_path / split / name).mkdir(parents=True)
            text = f"10 2 3 1\n{50 + number} 3 {4 + len(split)} 0\n"
            (tmp_path / split / name / "0.txt").write_text(text)
    (tmp_path / "train" / "a" / "notes.txt").write_text("made on a rainy day\n")
    with pytest.warns(UserWarning, match=r"train: left out .*1 \.txt"):
        data = load("eventfolder", root=tmp_path, steps=2, frames=Frames(order="txyp"))
    assert (data.train.samples, data.shape) == (2, (2, 10, 4))
    with pytest.raises(EventFileError, match=r"0\.txt .*--event-order"), pytest.warns(UserWarning):
        load("eventfolder", root=tmp_path)
