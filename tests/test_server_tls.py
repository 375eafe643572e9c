"""An https connection: certificate authorities of one's own, and client certificates."""

import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ragctl.errors import StoreError, UsageError
from ragctl.stores import open_store
from tests.servers.qdrant import QdrantFacade
from tests.store_contract import SETTINGS

DAY = timedelta(days=1)


class Party(NamedTuple):
    """A certificate with its key, in memory and as PEM files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path
    key_file: Path


def issue(folder: Path, name: str, authority: Party | None = None) -> Party:
    """Return a new certificate, signed by the authority or, without one, by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    public = key.public_key()
    issuer_key = (authority.key if authority else key).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), False)
    )
    if authority is not None:
        address = x509.IPAddress(ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), False)
    certificate = builder.sign(authority.key if authority else key, hashes.SHA256())
    file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Party(certificate, key, file, key_file)


@pytest.fixture
def authority(tmp_path: Path) -> Party:
    return issue(tmp_path, "authority")


@pytest.fixture(params=["server only", "client too"])
def address(
    request: pytest.FixtureRequest, authority: Party, tmp_path: Path
) -> Iterator[tuple[str, bool]]:
    """Yield the address of an https server, and whether it wants a client certificate."""
    server = issue(tmp_path, "server", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.file, server.key_file)
    both = request.param == "client too"
    if both:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
    with QdrantFacade() as facade:
        facade.use_tls(context)
        yield facade.url, both


@pytest.mark.parametrize("key", ["a file of its own", "in the certificate's file"])
def test_a_server_with_an_authority_of_its_own(
    address: tuple[str, bool],
    authority: Party,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url, both = address
    environ = {"RAGCTL_QDRANT_CA_FILE": str(authority.file)}
    if both:
        client = issue(tmp_path, "client", authority)
        if key == "a file of its own":
            environ["RAGCTL_QDRANT_CERTIFICATE_KEY"] = str(client.key_file)
        else:
            client.file.write_bytes(client.file.read_bytes() + client.key_file.read_bytes())
        environ["RAGCTL_QDRANT_CERTIFICATE"] = str(client.file)
    with closing(open_store(url, environ=environ)) as store:
        store.create("docs", SETTINGS)
        assert store.names() == ["docs"]


def test_another_authority_is_not_trusted(address: tuple[str, bool], tmp_path: Path) -> None:
    url, _ = address
    other = issue(tmp_path, "other")
    for environ in ({}, {"RAGCTL_QDRANT_CA_FILE": str(other.file)}):
        store = open_store(url, environ=environ, patience=2)
        with closing(store), pytest.raises(StoreError, match="RAGCTL_QDRANT_CA_FILE"):
            store.names()


def test_a_missing_client_certificate_is_an_error(
    address: tuple[str, bool], authority: Party
) -> None:
    url, both = address
    environ = {"RAGCTL_QDRANT_CA_FILE": str(authority.file)}
    with closing(open_store(url, environ=environ, patience=1)) as store:
        if both:
            with pytest.raises(StoreError, match=r"^(no Qdrant at )?https://\S+.*"):
                store.names()
        else:
            assert store.names() == []


@pytest.mark.parametrize(
    "name", ["RAGCTL_QDRANT_CA_FILE", "RAGCTL_QDRANT_CERTIFICATE", "RAGCTL_QDRANT_CERTIFICATE_KEY"]
)
def test_a_file_that_is_no_certificate_is_named(
    name: str, authority: Party, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("not a certificate")
    client = issue(tmp_path, "client", authority)
    environ = {
        "RAGCTL_QDRANT_CERTIFICATE": str(client.file),
        "RAGCTL_QDRANT_CERTIFICATE_KEY": str(client.key_file),
        name: str(tmp_path / "note.txt"),
    }
    with pytest.raises(UsageError, match=r"certificates for https://host:6333 .*note\.txt"):
        open_store("https://host", environ=environ)
