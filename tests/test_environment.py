"""Environment variables: each is declared once, and the documentation lists all of them."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ragctl
from ragctl import environment
from ragctl.cli.completion import COMPLETE_VARIABLE
from ragctl.environment import VARIABLES, Variable, first_set

ROOT = Path(__file__).parents[1]
PACKAGE = Path(ragctl.__file__).parent
NAMES = {variable.name for variable in VARIABLES}
ALSO_WORDS = {"PATH"}  # names of arguments in the help
OWN = re.compile(r"RAGCTL_[A-Z_]+")


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield the string literals of a module, without docstrings."""
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


@pytest.mark.parametrize(
    "path",
    sorted(path for path in PACKAGE.rglob("*.py") if path.name != "environment.py"),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_other_module_spells_the_name_of_a_variable(path: Path) -> None:
    for text in literals(ast.parse(path.read_text(encoding="utf-8"))):
        assert text not in NAMES - ALSO_WORDS, "import the Variable from ragctl.environment"
        assert not OWN.search(text.replace(COMPLETE_VARIABLE, "")), text


def test_every_declared_variable_is_listed_once() -> None:
    declared = [each for each in vars(environment).values() if isinstance(each, Variable)]
    assert sorted(each.name for each in declared) == sorted(each.name for each in VARIABLES)
    assert len(NAMES) == len(VARIABLES)


def test_a_secret_cannot_be_declared_as_carried() -> None:
    with pytest.raises(AssertionError, match="a secret is never carried"):
        Variable("TOKEN", "A token.", secret=True)


def test_a_blank_variable_counts_as_unset() -> None:
    one, two = environment.SERVER_KEYS
    assert first_set({one.name: " ", two.name: "key"}, (one, two)) is two
    assert first_set({}, (one, two)) is None


def test_the_page_has_the_generated_tables() -> None:
    path = ROOT / "docs" / "generate_environment.py"
    spec = importlib.util.spec_from_file_location("generate_environment", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    assert module.page(text) == text, "run: python docs/generate_environment.py"


def test_the_documentation_names_no_unknown_variable() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        unknown = set(OWN.findall(page.read_text(encoding="utf-8"))) - NAMES
        assert {name for name in unknown if "TEST" not in name and "BENCH" not in name} == set()
