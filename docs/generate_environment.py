"""Write the tables of docs/environment.md: python docs/generate_environment.py.

tests/test_environment.py checks that the page has them.
"""

from pathlib import Path

from ragctl.embedding.catalogs import package_catalog
from ragctl.environment import CONFIG, VARIABLES, Variable
from ragctl.rerank.wire_registry import rerankers

PAGE = Path(__file__).with_name("environment.md")
START, END = "<!-- generated -->", "<!-- end of generated -->"


def _scheduled(variable: Variable) -> str:
    """Return what `ragctl schedule` does with a variable."""
    if variable.carried:
        return "carried"
    return "never carried: a secret" if variable.secret else "not carried"


def tables() -> str:
    """Return the generated part of the page."""
    backends = {**package_catalog().backends, **rerankers({CONFIG.name: "none"})}
    rows = [
        "| variable | what it does | `ragctl schedule` |",
        "|---|---|---|",
        *(f"| `{each.name}` | {each.purpose} | {_scheduled(each)} |" for each in VARIABLES),
        "",
        "## API keys",
        "",
        "The first variable of a row that is set is used. They are secrets too: `ragctl schedule`",
        "never carries them.",
        "",
        "| backend or reranker | variables |",
        "|---|---|",
        *(
            f"| `{name}` | {', '.join(f'`{key}`' for key in backend.keys)} |"
            for name, backend in backends.items()
            if backend.keys
        ),
    ]
    return "\n".join(rows)


def page(text: str) -> str:
    """Return the page with its generated part replaced."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
