"""Markup and numbers of a report."""

from sigprop_snn.report.style import Html, compact, duration, element, file_size, percent


def test_markup_is_escaped_once():
    inside = element("b", "a < b & c")
    assert inside == "<b>a &lt; b &amp; c</b>"
    assert element("p", inside, '"') == "<p><b>a &lt; b &amp; c</b>&quot;</p>"
    assert element("img", alt='"><script>', class_="x", id=None) == (
        '<img alt="&quot;&gt;&lt;script&gt;" class="x">'
    )
    assert isinstance(inside, Html)


def test_numbers_are_short_and_have_a_unit():
    assert [compact(n) for n in (0, 999, 9999, 12345, 1234567, 2.5e9)] == [
        "0", "999", "9,999", "12.3 k", "1.23 M", "2.5 G",
    ]  # fmt: skip
    assert [percent(s) for s in (0.0, 0.0123, 0.5, 1.0)] == ["0.0 %", "1.23 %", "50.0 %", "100.0 %"]
    assert [duration(s) for s in (0.5, 89.0, 600.0, 7200.0)] == ["0.5 s", "89 s", "10 min", "2 h"]
    assert [file_size(n) for n in (12, 2048, 3 << 20)] == ["12 bytes", "2 KiB", "3 MiB"]
