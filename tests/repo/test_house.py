"""The size of rooms and functions: small enough to be read at once."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

MAX_MODULES, MAX_LINES, MAX_PARAMETERS = 12, 60, 6
ENDPOINTS = "img2loc/web/api/endpoints.py"  # whose parameters are the client API
FILES = [ROOT / "app.py", *(ROOT / "img2loc").rglob("*.py"), *(ROOT / "index_builder").rglob("*.py")]


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_room_has_too_many_modules():
    modules = Counter(file.parent for file in FILES)
    assert {str(folder): count for folder, count in modules.items() if count > MAX_MODULES} == {}


def test_no_function_is_too_large():
    found = set()
    for file in FILES:
        name = file.relative_to(ROOT).as_posix()
        for function in functions(file):
            lines = (function.end_lineno or 0) - function.lineno + 1
            given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            parameters = [parameter for parameter in given if parameter.arg not in ("self", "cls")]
            if lines > MAX_LINES:
                found.add(f"{name}: {function.name} has {lines} lines")
            if len(parameters) > MAX_PARAMETERS and name != ENDPOINTS:
                found.add(f"{name}: {function.name} has {len(parameters)} parameters")
    assert found == set()


def test_the_app_does_not_know_the_builder():
    assert "index_builder" not in (ROOT / "app.py").read_text("utf-8")
