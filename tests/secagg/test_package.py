import ast
from pathlib import Path

import secagg

SOURCE = Path(secagg.__file__).parent


def test_all_is_sorted_and_complete():
    assert secagg.__all__ == sorted(secagg.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert all(hasattr(secagg, name) for name in secagg.__all__)
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == set(secagg.__all__)


def test_it_imports_nothing_of_ours_and_no_network():
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                assert name.split(".")[0] not in (
                    "dp",
                    "attacks",
                    "evaluations",
                    "fedpeft_secure",
                    "socket",
                    "threading",
                    "logging",
                    "torch",
                ), path
                assert name != "time" or path.name == "bench.py"


def test_functions_and_files_stay_small():
    for path in SOURCE.glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 80, (path, node.name)
