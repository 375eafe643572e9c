"""What git ignores: compared with `git check-ignore`, and the places that rules come from."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from ragctl.sources import walk
from ragctl.sources.gitignore_patterns import GitIgnorePatterns

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
ENVIRONMENT = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
TREES = 40
NAMES = ("a.md", "b.md", "ab.md", "#h.md", "[x].md", "a b.md", "!n.md", "é.md", "A.md", "foo.md")
SEGMENTS = (
    *("a.md", "ab", "foo", "*.md", "a*", "*b", "?", "[ab]*", "[!a]*", "*", "**", "a?.md", "f*o"),
    *("[a-c]*", "\\#h.md", "\\!n.md", "\\[x\\].md", "*.*", "a\\ b.md", "é*", "[[:alpha:]]*"),
    *("[^b]*", "a**", "**b", "[]a]*", "\\a*", "[[:odd:]]", "[a", "a**b", "***"),
)


def git(folder: Path, *words: str, text: str = "") -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, env=ENVIRONMENT, input=text, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_files(root: Path, *names: str) -> None:
    write(root, **dict.fromkeys(names, "x"))


def found(root: Path, *, gitignore: bool = True) -> list[str]:
    walked = walk(root, gitignore=gitignore)
    names = [file.source for file in walked]
    assert walked.failures == []
    return names


def random_pattern(dice: random.Random) -> str:
    pattern = "/".join(dice.choice(SEGMENTS) for _ in range(dice.choice([1, 1, 1, 2, 2, 3])))
    for share, changed in (
        (0.25, f"/{pattern}"),
        (0.25, f"{pattern}/"),
        (0.1, f"**/{pattern}"),
        (0.1, f"{pattern}/**"),
        (0.3, f"!{pattern}"),
        (0.1, f"{pattern}  "),
        (0.05, f"{pattern}\r"),
        (0.03, f"#{pattern}"),
    ):
        if dice.random() < share:
            pattern = changed
    return pattern


def random_tree(dice: random.Random, folder: Path, depth: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in dice.sample(NAMES, dice.randint(2, 5)):
        if depth < 3 and dice.random() < 0.5:
            random_tree(dice, folder / name, depth + 1)
        else:
            (folder / name).touch()
    if dice.random() < 0.5:
        rules = [random_pattern(dice) for _ in range(dice.randint(1, 5))]
        (folder / ".gitignore").write_text("\n".join(rules))


@needs_git
def test_random_trees_are_ignored_as_git_ignores_them(tmp_path: Path) -> None:
    """All trees lie in one work tree; its exclude file has rules too."""
    dice = random.Random(4)
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/info/exclude").write_text("\n".join(random_pattern(dice) for _ in range(3)))
    for number in range(TREES):
        random_tree(dice, tmp_path / f"tree{number}")
    files = [
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*")
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(tmp_path).parts)
    ]
    listed = git(tmp_path, "check-ignore", "-z", "--stdin", "--no-index", text="\0".join(files))
    ignored = set(listed.split("\0"))
    assert len(files) > 10 * TREES
    assert len(ignored) > 2 * TREES
    assert sorted(found(tmp_path)) == sorted(set(files) - ignored)
    assert sorted(found(tmp_path, gitignore=False)) == sorted(files)


def as_repository(folder: Path) -> Path:
    (folder / ".git/info").mkdir(parents=True)
    (folder / ".git/HEAD").write_text("ref: refs/heads/main\n")
    return folder


def test_rules_of_the_folders_above_the_root_apply(tmp_path: Path) -> None:
    top = as_repository(tmp_path / "top")
    write(
        top,
        **{
            ".gitignore": "*.log\n/docs/en/old.md\n",
            "docs/.gitignore": "!keep.log\n",
            ".git/info/exclude": "/docs/en/private.md\n*.tmp.md\n",
            "docs/en/.gitignore": "!b.tmp.md\n",
        },
    )
    names = ("a.md", "a.log", "keep.log", "old.md", "private.md", "a.tmp.md", "b.tmp.md")
    write_files(top / "docs/en", *names)
    assert found(top / "docs/en") == ["a.md", "b.tmp.md", "keep.log"]
    assert found(top) == [f"docs/en/{name}" for name in ("a.md", "b.tmp.md", "keep.log")]


def test_a_root_that_is_ignored_was_named_by_the_user(tmp_path: Path) -> None:
    top = as_repository(tmp_path)
    write(top, **{".gitignore": "build/\n*.log\n", "build/docs/.gitignore": "b.md\n"})
    write_files(top, "build/docs/a.md", "build/docs/b.md", "build/docs/a.log", "c.md")
    assert found(top) == ["c.md"]
    assert found(top / "build/docs") == ["a.log", "a.md"]
    assert found(top / "build") == ["docs/a.log", "docs/a.md"]


def test_nothing_is_ignored_outside_of_a_work_tree(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # without HEAD it is no repository
    write(tmp_path, **{".gitignore": "*.md\n", "a.md": "x"})
    assert found(tmp_path) == ["a.md"]


def test_a_work_tree_below_the_root_has_its_own_rules(tmp_path: Path) -> None:
    as_repository(tmp_path / "outer")
    inner = as_repository(tmp_path / "outer/inner")
    write(tmp_path, **{".gitignore": "a.md\n", "outer/.gitignore": "b.md\n"})
    write(inner, **{".gitignore": "c.md\n", ".git/info/exclude": "/d.md\n"})
    write_files(tmp_path, "a.md", *(f"outer/{name}.md" for name in "abc"))
    write_files(inner, *(f"{name}.md" for name in "abcd"))
    assert found(tmp_path) == [
        *("a.md", "outer/a.md", "outer/c.md", "outer/inner/a.md", "outer/inner/b.md")
    ]


@needs_git
def test_linked_work_trees_and_submodules(tmp_path: Path) -> None:
    """Their `.git` is a file. A linked work tree shares the exclude file of its repository."""
    main, library = tmp_path / "main", tmp_path / "library"
    for repository in (main, library):
        repository.mkdir()
        git(repository, "init", "-q")
        write(repository, **{".gitignore": "build/\n", "a.md": "x"})
        git(repository, "add", "-A")
        git(repository, "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m")
    add = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    git(main, *add)
    git(main, "worktree", "add", "-q", str(tmp_path / "linked"))
    (main / ".git/info/exclude").write_text("secret.md\n")
    (main / ".git/modules/lib/info").mkdir(exist_ok=True)
    (main / ".git/modules/lib/info/exclude").write_text("inner.md\n")
    for folder in (main, main / "lib", tmp_path / "linked"):
        write_files(folder, "build/x.md", "secret.md", "inner.md")
    assert found(main) == ["a.md", "inner.md", "lib/a.md", "lib/secret.md"]
    assert found(main / "lib") == ["a.md", "secret.md"]
    assert found(tmp_path / "linked") == ["a.md", "inner.md"]


def test_a_ragctlignore_overrides_git_and_a_reason_names_the_rule(tmp_path: Path) -> None:
    top = as_repository(tmp_path)
    write(top, **{".gitignore": "# all\ngenerated/\n*.log\n", ".ragctlignore": "!generated/\n"})
    write_files(top, "generated/api.md", "a.log", "b.md", "node_modules/x.md")
    walked = walk(top)
    assert [file.source for file in walked] == ["b.md", "generated/api.md"]
    assert {each.source: each.reason for each in walked.skipped.files} == {
        "a.log": "ignored by .gitignore, line 3: *.log",
        "node_modules/": "ignored by default: node_modules/",
    }


def test_a_gitignore_that_is_no_file_is_ignored(tmp_path: Path) -> None:
    top = as_repository(tmp_path)
    write(top, **{"a.md": "x", "rules": "*.md\n", "sub/b.md": "x"})
    (top / ".gitignore").symlink_to("rules")
    (top / "sub/.gitignore").mkdir()
    assert found(top) == ["a.md", "sub/b.md"]


def test_lines_that_are_no_pattern_match_nothing() -> None:
    patterns = GitIgnorePatterns(["", "#", "!", "/", "[", "a\\", "[[:x:]]", " "])
    for path in ("", "a", "[", "#", "!", "a\\", " "):
        assert patterns.last_match(path, folder=True) is None
