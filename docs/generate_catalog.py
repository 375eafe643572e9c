"""Write the tables of docs/models.md and docs/backends.md: python docs/generate_catalog.py.

tests/test_catalog_commands.py checks that the pages have them.
"""

import re
from pathlib import Path

from ragctl.catalog import listing
from ragctl.embedding.catalogs import package_catalog

DOCS = Path(__file__).parent


def write(name: str, table: listing.Listing) -> None:
    """Replace the table between `<!-- name -->` and `<!-- end -->` of the page `name`.md."""
    page = DOCS / f"{name}.md"
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = page.read_text(encoding="utf-8")
    new = block.sub(lambda found: found[1] + table.markdown() + found[2], text, count=1)
    page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    own = package_catalog()
    write("models", listing.models(own, own.models))
    write("backends", listing.backends(own, own.backends))
