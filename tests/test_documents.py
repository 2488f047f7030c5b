"""The documents are true: their programs run, their links and their commands exist."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from sigprop_snn.command_line import cli, commands

ROOT = Path(__file__).resolve().parent.parent
SITE = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "docs").rglob("*.md")
    if not {"_build", "generated"} & set(path.parts)
)
DOCUMENTS = SITE + sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / "benchmarks")
    for path in folder.glob("*.md")
)


def text_of(document):
    return (ROOT / document).read_text(encoding="utf-8")


def fenced(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(document), re.M | re.S)


PROGRAMS = [
    pytest.param(program, id=f"{document}-{number}")
    for document in DOCUMENTS
    if document not in SITE
    for number, program in enumerate(fenced(document, "python"), start=1)
]
PAGES_WITH_PROGRAMS = [page for page in SITE if fenced(page, "python") or fenced(page, "pycon")]
COMMANDS = [
    line.split("#")[0].strip()
    for document in ("README.md", *SITE)
    for block in fenced(document, "sh")
    for line in block.splitlines()
    if line.startswith("sigprop-snn ")
] + [
    command
    for document in ("README.md", *SITE)
    for command in re.findall(r"`(sigprop-snn [^`]+)`", text_of(document))
    if not re.search(r"DATASET|RUN|COMMAND", command)
    and command not in ("sigprop-snn train", "sigprop-snn compare")
]


@pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_of_the_documents_run(program, tmp_path, monkeypatch, capsys):
    from sigprop_snn.data import DATASETS

    monkeypatch.chdir(tmp_path)
    before = dict(DATASETS)
    try:
        exec(program.replace("range(10)", "range(1)"), {"__name__": "__main__"})
    finally:
        DATASETS.clear()
        DATASETS.update(before)
    if "print(sp.evaluate(network, data.test))" in program:  # the README's
        assert re.match(r"accuracy \d\d\.\d\d%", capsys.readouterr().out)


@pytest.fixture(scope="module")
def site_programs():
    """The extension of the site that runs the programs of a page."""
    spec = importlib.util.spec_from_file_location("programs", ROOT / "docs/_extensions/programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES_WITH_PROGRAMS)
def test_programs_of_the_site_run(page, site_programs):
    assert site_programs.failures(text_of(page), page) == []


def test_there_are_programs_and_commands():
    assert len(PROGRAMS) >= 6
    assert len(PAGES_WITH_PROGRAMS) >= 15
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_point_to_files(document):
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    local = [link.split("#")[0] for link in links if not re.match(r"https?:|#", link)]
    missing = [link for link in local if not ((ROOT / document).parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    rooms = r"(?:examples|benchmarks|docs|tests|neurons|surrogates|sigprop_snn)"
    named = re.findall(rf"`(?:python )?({rooms}/[\w./-]+\.\w+)", text_of(document))
    made = "docs/_build/"  # by the site's command
    missing = [n for n in named if not n.startswith(made) and not (ROOT / n).exists()]
    assert missing == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_documents_are_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for kind in commands.COMMANDS.values():
        monkeypatch.setattr(kind, "run", lambda self: found.append(self))
    monkeypatch.setattr(cli.launch, "launch", lambda processes, words: found.append(words) or 0)
    config = tmp_path / "runs/n1/config.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"dataset": "digits"}', encoding="utf-8")
    assert cli.main(shlex.split(command)[1:]) == 0
    assert len(found) == 1
