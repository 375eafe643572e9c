"""Every kind of source fulfils the contract; see source_contract.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fault_proxy import FaultProxy
from tests.servers.places import (
    ArchivePlace,
    BucketPlace,
    CommandPlace,
    FolderPlace,
    ServerPlace,
    WebPlace,
    http_server,
    s3_server,
    webdav_server,
)
from tests.source_contract import Place, SourceContract, filled, quick

__all__ = ["filled", "quick"]


class TestFolder(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return FolderPlace(tmp_path / "docs")


class TestZip(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return ArchivePlace(tmp_path / "docs", ".zip")


class TestTar(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return ArchivePlace(tmp_path / "docs", ".tar.gz")


class TestCommand(SourceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return CommandPlace(tmp_path / "docs")


class TestWeb(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        root = tmp_path_factory.mktemp("web")
        with http_server(root) as port, FaultProxy(port) as proxy:
            yield WebPlace(root, proxy, "http")


class TestHttp(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        root = tmp_path_factory.mktemp("http")
        with http_server(root) as port, FaultProxy(port) as proxy:
            yield ServerPlace(root, proxy, "http")


class TestWebdav(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        pytest.importorskip("wsgidav")
        root = tmp_path_factory.mktemp("webdav")
        with webdav_server(root) as port, FaultProxy(port) as proxy:
            yield ServerPlace(root, proxy, "webdav")


class TestS3(SourceContract):
    rounds = 3  # the library takes its time

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Iterator[Place]:
        pytest.importorskip("moto.server")
        pytest.importorskip("s3fs")
        boto3 = pytest.importorskip("boto3")
        with (
            s3_server() as port,
            FaultProxy(port) as proxy,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_MAX_ATTEMPTS", "1")  # with_retries repeats, without pauses
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
            client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
            client.create_bucket(Bucket="bucket")
            yield BucketPlace(client, proxy)
