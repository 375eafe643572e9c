"""The parts of a DOCX file: a zip archive of XML (ECMA-376, part 2), transitional or strict."""

import io
import posixpath
import zipfile
import zlib
from typing import Any
from urllib.parse import unquote

from lxml import etree

from ragctl.errors import DocumentError
from ragctl.loaders.decode import clean
from ragctl.text import collapse_whitespace

_RELATION = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
# Strict files use other namespaces; they become those of transitional files.
_STRICT = b"http://purl.oclc.org/ooxml/"
_TRANSITIONAL = (
    (b"http://purl.oclc.org/ooxml/officeDocument/", b"officeDocument/2006/"),
    (b"http://purl.oclc.org/ooxml/wordprocessingml/", b"wordprocessingml/2006/"),
    (b"http://purl.oclc.org/ooxml/drawingml/", b"drawingml/2006/"),
)
_UNPACK_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,  # a part with a password
    OSError,  # of bz2, and an offset outside of the file
    ValueError,
)


class Package:
    """The parts of a DOCX file, read when they are asked for.

    `warnings`: parts other than the document itself that are damaged, and were left out.
    """

    def __init__(self, data: bytes) -> None:
        """Open an archive. Raises DocumentError if it has no document, or a damaged one."""
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            self._names = {name.lower(): name for name in self._archive.namelist()}
        except _UNPACK_ERRORS as error:
            raise DocumentError("is not a DOCX file, or is damaged: not a zip archive") from error
        self.warnings: list[str] = []
        self._package_relations = self._relations("")
        main = next(iter(self._package_relations.get("officeDocument", ())), "word/document.xml")
        if main.lower() not in self._names:
            raise DocumentError("is a zip archive without a Word document")
        self.document: Any = self._read(main)
        self._document_relations = self._relations(main)

    def related(self, kind: str) -> list[Any]:
        """Return the roots of the parts of a kind, such as "styles"."""
        return self._parts(self._document_relations.get(kind, ()))

    def core_properties(self) -> dict[str, str]:
        """Return the properties that have a value, by XML name, such as "creator"."""
        found: dict[str, str] = {}
        for root in self._parts(self._package_relations.get("core-properties", ())):
            for child in root:
                text = collapse_whitespace(clean(child.text or ""))
                if isinstance(child.tag, str) and text:
                    found.setdefault(etree.QName(child).localname, text)
        return found

    def _parts(self, names: Any) -> list[Any]:
        roots = []
        for name in names:
            if name.lower() in self._names:
                try:
                    roots.append(self._read(name))
                except DocumentError as error:
                    self.warnings.append(f"{error}; it was left out")
        return roots

    def _read(self, name: str) -> Any:
        try:
            data = self._archive.read(self._names[name.lower()])
        except _UNPACK_ERRORS as error:
            raise DocumentError(f"is damaged: its part {name} cannot be unpacked") from error
        if _STRICT in data:
            for strict, transitional in _TRANSITIONAL:
                data = data.replace(strict, b"http://schemas.openxmlformats.org/" + transitional)
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
        )
        try:
            return etree.fromstring(data, parser)
        except (etree.XMLSyntaxError, ValueError) as error:
            reason = collapse_whitespace(str(error))
            raise DocumentError(f"is damaged: its part {name} is not XML: {reason}") from error

    def _relations(self, part: str) -> dict[str, list[str]]:
        """Return the names of the parts that a part refers to, by kind; "": the package."""
        folder, file = posixpath.split(part)
        name = posixpath.join(folder, "_rels", f"{file}.rels")
        found: dict[str, list[str]] = {}
        for root in self._parts([name]):
            for relation in root.iter(_RELATION):
                if relation.get("TargetMode") != "External":
                    target = unquote(relation.get("Target", ""))
                    target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                    kind = relation.get("Type", "").rpartition("/")[2]
                    found.setdefault(kind, []).append(target)
        return found
