"""The programs of the site's pages are found and run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXTENSION = Path(__file__).parents[2] / "docs/_extensions/programs.py"


@pytest.fixture(scope="module")
def programs():
    spec = importlib.util.spec_from_file_location("programs", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(*blocks: tuple[str, str]) -> str:
    return "\n".join(f"# A page\n\n```{language}\n{code}```\n" for language, code in blocks)


def test_a_right_output_is_no_failure(programs):
    assert programs.failures(page(("pycon", ">>> 1 + 1\n2\n")), "page") == []


def test_a_wrong_output_names_the_page_and_the_line(programs):
    (failure,) = programs.failures("text\n\n" + page(("pycon", ">>> 1 + 1\n3\n")), "page")
    assert "page:5" in failure and "Expected:\n    3\nGot:\n    2" in failure


def test_a_program_that_fails_names_the_page_and_the_error(programs):
    (failure,) = programs.failures(page(("python", "1 / 0\n")), "page")
    assert "page:3" in failure and "ZeroDivisionError" in failure


def test_the_blocks_of_a_page_share_their_names(programs):
    session = ">>> x + 1\n2\n>>> y = 5\n"
    text = page(("python", "x = 1\n"), ("pycon", session), ("python", "y + x\n"))
    assert programs.failures(text, "page") == []


def test_other_blocks_are_not_run(programs):
    assert programs.failures(page(("py", "1 / 0\n"), ("sh", "exit 1\n")), "page") == []


def test_files_of_a_program_do_not_stay(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page(("python", "open('left', 'w').close()\n"))
    assert programs.failures(text, "page") == []
    assert list(tmp_path.iterdir()) == [] and Path.cwd() == tmp_path
