"""The rooms of the house import one way, without circles, not even for types."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"sigprop_snn.surrogates": "surrogates", "sigprop_snn.neurons": "neurons"}

# A package may import those before it; the facades of packages (`__init__.py`) are left out. A
# module at the top of the package stands as high as the highest of those that it imports.
ORDER = [
    "processes", "surrogates", "neurons", "losses", "signals", "layers", "rules", "network",
    "optimizers", "data", "settings", "plots", "monitors", "analysis", "deploy", "fixed_point",
    "training", "parallel", "comparison", "report", "command_line",
]  # fmt: skip


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in [*PLACES.items(), ("sigprop_snn", "sigprop_snn")]:
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Return the modules of the project that a file imports anywhere, also under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def graph() -> dict[str, set[str]]:
    """Return who imports whom. A facade gives on what it takes from others, and is left out."""
    found = modules()
    facades = {name for name, path in found.items() if path.name == "__init__.py"}
    bare = {name: imports(path, set(found)) for name, path in found.items()}
    return {
        name: set().union(*(bare[n] if n in facades else {n} for n in reached)) - {name}
        for name, reached in bare.items()
        if name not in facades
    }


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return the names along one circle, or none."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        path.append(name)
        for reached in sorted(edges.get(name, ())):
            found = visit(reached)
            if found:
                return found
        path.pop()
        done.add(name)
        return []

    for name in sorted(edges):
        found = visit(name)
        if found:
            return found
    return []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_itself_through_others():
    edges = graph()
    assert len(edges) > 100
    assert circle(edges) == []


def test_packages_import_only_those_below_them():
    edges = graph()

    @functools.cache
    def height(name):
        room = room_of(name)
        if room in ORDER:
            return ORDER.index(room)
        return max((height(other) for other in edges.get(name, ())), default=-1)

    wrong = [
        f"{name} imports {other}"
        for name, reached in edges.items()
        for other in reached
        if room_of(name) in ORDER and height(other) > height(name)
    ]
    assert wrong == []


def test_every_package_has_its_place_in_the_order():
    assert {path.parent.name for path in (ROOT / "sigprop_snn").glob("*/__init__.py")} < set(ORDER)


def test_kernels_are_known_to_neurons_alone():
    private = ("sigprop_snn.neurons.engines.cpu", "sigprop_snn.neurons.engines.triton")
    known = set(modules())
    for name, path in modules().items():
        for reached in imports(path, known):
            if reached.startswith(private):
                assert name.startswith("sigprop_snn.neurons."), f"{name} imports {reached}"


def room_of(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""
