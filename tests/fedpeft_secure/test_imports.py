"""The rules of the house, read off the source: who imports whom, what packages export, what is never called."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {
    "dp": set(),
    "secagg": set(),
    "fedpeft_secure": {"dp", "secagg"},
    "attacks": {"dp", "secagg", "fedpeft_secure"},
    "evaluations": {"dp", "secagg", "fedpeft_secure", "attacks"},
}
"""Package → what of ours it may import besides itself."""

COMPOSITION_ROOT = "fedpeft_secure/cli/"
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
SOURCES = sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node


def upward(path: Path, source: str) -> list[str]:
    """Imports of `source`, at `path`, that break the order of the packages."""
    package = name_of(path).split("/")[0]
    tree = ast.parse(source)
    in_functions = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    found = []
    for module, node in imports(tree):
        imported = module.split(".")[0]
        if imported not in LAYERS or imported == package or imported in LAYERS[package]:
            continue
        if name_of(path).startswith(COMPOSITION_ROOT) and node in in_functions:
            continue
        found.append(f"{name_of(path)}:{node.lineno} imports {module}")
    return found


def forbidden(path: Path, source: str) -> list[str]:
    """Calls and imports of `source` that could execute what somebody else wrote."""
    tree = ast.parse(source)
    found = [
        f"{name_of(path)}:{node.lineno} imports {module}"
        for module, node in imports(tree)
        if module.split(".")[0] in FORBIDDEN_MODULES
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load"}:
                found.append(f"{name_of(path)}:{node.lineno} calls {called}")
            if called in {"np.load", "numpy.load"} or called.endswith(".read_pickle"):
                found.append(f"{name_of(path)}:{node.lineno} calls {called}")
        dangerous = isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}
        if dangerous and ast.unparse(node.value) != "False":
            found.append(f"{name_of(path)}:{node.value.lineno} sets {node.arg}")
    return found


def test_the_rules_see_something() -> None:
    assert {name_of(path).split("/")[0] for path in SOURCES} == set(LAYERS)
    assert len(SOURCES) > 80


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_packages_import_downwards_only(path: Path) -> None:
    assert upward(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("dp/x.py", "import secagg"),
        ("secagg/x.py", "from dp.noise import Gaussian"),
        ("fedpeft_secure/x.py", "def f():\n    from attacks.suite import run_attacks"),
        ("fedpeft_secure/cli/x.py", "import evaluations.report"),
        ("fedpeft_secure/client.py", "def f():\n    import evaluations"),
        ("attacks/x.py", "from evaluations import metrics"),
    ],
)
def test_a_wrong_import_is_found(where: str, source: str) -> None:
    assert len(upward(ROOT / where, source)) == 1


def test_the_composition_root_may_reach_up_inside_functions() -> None:
    assert upward(ROOT / COMPOSITION_ROOT / "x.py", "def f():\n    import attacks.suite\n    import evaluations") == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_are_absolute(path: Path) -> None:
    assert [module for module, _ in imports(ast.parse(path.read_text())) if module.startswith(".")] == []


def test_peft_is_imported_by_one_package() -> None:
    importers = {
        name_of(path)
        for path in SOURCES
        if any(module.split(".")[0] == "peft" for module, _ in imports(ast.parse(path.read_text())))
    }
    ours = {name for name in importers if name.startswith("fedpeft_secure/")}
    assert ours
    assert {name for name in ours if not name.startswith("fedpeft_secure/methods/")} == set()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_executes_what_somebody_else_wrote(path: Path) -> None:
    assert forbidden(path, path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=flag)",
        "pd.read_pickle(path)",
    ],
)
def test_a_dangerous_line_is_found(source: str) -> None:
    assert forbidden(ROOT / "dp/x.py", source)


PACKAGES = sorted(path for path in SOURCES if path.name == "__init__.py")


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_an_init_only_re_exports(path: Path) -> None:
    allowed = (ast.Import, ast.ImportFrom)
    for node in ast.parse(path.read_text()).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        lazy = name_of(path) == "fedpeft_secure/__init__.py" and getattr(node, "name", "") == "__getattr__"
        assert isinstance(node, allowed) or docstring or names or lazy, ast.unparse(node)


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_all_is_sorted_complete_and_true(path: Path) -> None:
    module = importlib.import_module(".".join(path.parent.relative_to(ROOT).parts))
    nodes = ast.parse(path.read_text()).body
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    exported = list(getattr(module, "__all__", []))
    # ruff's order: constants, then classes, then the rest
    assert exported == sorted(exported, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert len(set(exported)) == len(exported)
    lazy = {"run"} if name_of(path) == "fedpeft_secure/__init__.py" else set()
    assert set(exported) == imported | lazy
    assert all(hasattr(module, name) for name in exported)
