"""Real servers, folders and archives that hold files for the contract of sources."""

import http.server
import os
import random
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ragctl.sources.archive import ArchiveTree
from ragctl.sources.base import Kind
from ragctl.sources.command import Command
from ragctl.sources.folder import Folder
from ragctl.sources.ignore import Rules
from ragctl.sources.remote import connect
from ragctl.sources.tree import TreeSource
from ragctl.sources.web import Web
from tests.servers.fault_proxy import FAULTS, FaultProxy, faults_of
from tests.source_contract import EXCLUDE

LIMIT = 1_000_000


class FolderPlace:
    """A folder, and what has its files in one."""

    faults = False

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self._time = 1_700_000_000

    def write(self, path: str, content: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self._time += 1  # times that servers show have full seconds
        os.utime(file, (self._time, self._time))

    def remove(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)

    def kind(self) -> Kind:
        return Folder(self.root, exclude=EXCLUDE)

    def broken(self, chance: random.Random, share: float) -> AbstractContextManager[list[str]]:
        raise NotImplementedError


class ServerPlace(FolderPlace):
    """A folder behind a server, reached through the proxy that injects faults."""

    faults = True

    def __init__(self, root: Path, proxy: FaultProxy, scheme: str) -> None:
        super().__init__(root)
        self.proxy = proxy
        self.url = f"{scheme}://127.0.0.1:{proxy.port}"

    def kind(self) -> Kind:
        return connect(self.url, Rules((), EXCLUDE), LIMIT)

    def broken(self, chance: random.Random, share: float) -> AbstractContextManager[list[str]]:
        return faults_of(self.proxy, chance, share)


class BucketPlace:
    """A bucket of S3 with a prefix."""

    faults = True

    def __init__(self, client: Any, proxy: FaultProxy) -> None:
        self.client = client
        self.proxy = proxy
        self.url = "s3://bucket/docs"

    def write(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket="bucket", Key=f"docs/{path}", Body=content)

    def remove(self, path: str) -> None:
        self.client.delete_object(Bucket="bucket", Key=f"docs/{path}")

    def kind(self) -> Kind:
        return connect(self.url, Rules((), EXCLUDE), LIMIT)

    def broken(self, chance: random.Random, share: float) -> AbstractContextManager[list[str]]:
        return faults_of(self.proxy, chance, share)


class ArchivePlace(FolderPlace):
    """An archive of a folder; each change makes a new one. Faults cut or damage its file."""

    faults = True

    def __init__(self, root: Path, suffix: str) -> None:
        super().__init__(root)
        self.archive = root.with_name(f"archive{suffix}")

    def kind(self) -> Kind:
        self.make()
        return self._kind()

    def make(self) -> None:
        files = [path for path in sorted(self.root.rglob("*")) if path.is_file()]
        self.archive.unlink(missing_ok=True)
        if self.archive.suffix == ".zip":
            with zipfile.ZipFile(self.archive, "w", zipfile.ZIP_DEFLATED) as made:
                for path in files:
                    made.write(path, path.relative_to(self.root).as_posix())
        else:
            with tarfile.open(self.archive, "w:gz") as tar:
                for path in files:
                    tar.add(path, f"./{path.relative_to(self.root).as_posix()}")

    def _kind(self) -> Kind:
        rules = Rules((), EXCLUDE)
        return TreeSource(ArchiveTree(self.archive), rules, str(self.archive), LIMIT)

    @contextmanager
    def broken(self, chance: random.Random, share: float) -> Iterator[list[str]]:
        """Damage the archive: cut it, or change a byte."""
        made = self.kind
        injected: list[str] = []

        def damaged() -> Kind:
            self.make()
            data = bytearray(self.archive.read_bytes())
            if chance.random() < 0.5:
                injected.append("cut")
                del data[chance.randrange(len(data)) :]
            else:
                injected.append("byte")
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            self.archive.write_bytes(data)
            return self._kind()

        self.kind = damaged  # type: ignore[method-assign]
        try:
            yield injected
        finally:
            self.kind = made  # type: ignore[method-assign]


@contextmanager
def http_server(root: Path) -> Iterator[int]:
    """Serve a folder with Python's own server; yield its port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def webdav_server(root: Path) -> Iterator[int]:
    """Serve a folder over WebDAV; yield the port."""
    from cheroot import wsgi
    from wsgidav.wsgidav_app import WsgiDAVApp

    application = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(root)},
            "simple_dc": {"user_mapping": {"*": True}},
            "logging": {"enable": False},
            "verbose": 0,
        }
    )
    server = wsgi.Server(("127.0.0.1", 0), application)
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server.bind_addr[1]
    finally:
        server.stop()
        thread.join()


@contextmanager
def s3_server() -> Iterator[int]:
    """Run moto's server of S3; yield its port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


class CommandPlace(FolderPlace):
    """A program that prints the files of a folder. Faults cut its output or make it fail."""

    faults = True

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._script = root.with_name("export.py")
        self._fault = root.with_name("fault")
        self._script.write_text(_EXPORT)

    def kind(self) -> Kind:
        return Command(
            [sys.executable, str(self._script), str(self.root), str(self._fault)],
            self.root.parent,
            Rules((), EXCLUDE),
            name="place",
            complete=True,
            seconds=60,
            limit=LIMIT,
            environ={},
        )

    @contextmanager
    def broken(self, chance: random.Random, share: float) -> Iterator[list[str]]:
        """Let the program fail in one of several ways."""
        fault = chance.choice(("exit", "kill", "cut", "garbage", "no id", "number"))
        self._fault.write_text(f"{fault}\n{chance.randrange(6)}")
        try:
            yield [fault]
        finally:
            self._fault.unlink()


_EXPORT = """
import json, os, pathlib, sys
root, fault = map(pathlib.Path, sys.argv[1:])
kind, at = fault.read_text().split("\\n") if fault.exists() else ("", "0")
formats = {".md": "markdown", ".txt": "text", ".html": "html"}
files = sorted(path for path in root.rglob("*") if path.is_file())
for number, path in enumerate(files):
    record = {"id": path.relative_to(root).as_posix()}
    if path.suffix in formats:
        record |= {"text": path.read_bytes().decode(), "format": formats[path.suffix]}
    else:
        record["path"] = path.relative_to(root.parent).as_posix()
    line = json.dumps(record)
    if kind and number == int(at):
        sys.stdout.flush()
        if kind == "exit":
            sys.exit(1)
        if kind == "kill":
            os.kill(os.getpid(), 9)
        half = line[: len(line) // 2]
        line = {"cut": half, "garbage": "Traceback:", "no id": "{}"}.get(kind, "7")
    print(line)
"""


class WebPlace(ServerPlace):
    """The pages of a sitemap, which is made anew for each listing."""

    def kind(self) -> Kind:
        paths = sorted(path for path in self.root.rglob("*") if path.is_file())
        urls = "".join(
            f"<url><loc>{self.url}/{quote(path.relative_to(self.root).as_posix())}</loc></url>"
            for path in paths
            if path.name != "sitemap.xml"
        )
        (self.root / "sitemap.xml").write_text(f"<urlset>{urls}</urlset>")
        return Web(f"{self.url}/sitemap.xml", None, Rules((), EXCLUDE), rate=1e6, limit=LIMIT)

    def broken(self, chance: random.Random, share: float) -> AbstractContextManager[list[str]]:
        """404 is no fault here: it says that a page is gone."""
        return faults_of(self.proxy, chance, share, [each for each in FAULTS if each != "404"])
