"""The certificates of a control plane on loopback: one authority, one for every server, one for its administrator."""

import datetime
import ipaddress
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 2


@dataclass(frozen=True)
class Files:
    """Paths, all in PEM."""

    authority: Path
    server: Path
    server_key: Path
    admin: Path
    admin_key: Path
    accounts_key: Path
    """Signs the tokens of service accounts."""


def write(folder: Path, address: str) -> Files:
    """Makes all of them, new. Servers are known by `address` and by loopback."""
    files = Files(*(folder / f"{n}.pem" for n in ("ca", "server", "server-key", "admin", "admin-key", "accounts-key")))
    root_key = _key()
    root = _sign("reverie tests", None, root_key, root_key, None)
    files.authority.write_bytes(_pem(root))
    for name, group, addresses, certificate, key in (
        ("localhost", None, {address, "127.0.0.1"}, files.server, files.server_key),
        ("admin", "system:masters", set[str](), files.admin, files.admin_key),
    ):
        private = _key()
        certificate.write_bytes(_pem(_sign(name, group, private, root_key, root, addresses)))
        _write_key(private, key)
    _write_key(_key(), files.accounts_key)
    return files


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _sign(
    name: str,
    group: str | None,
    key: rsa.RSAPrivateKey,
    signer: rsa.RSAPrivateKey,
    issuer: x509.Certificate | None,
    addresses: Set[str] = frozenset(),
) -> x509.Certificate:
    """Of a server if it has addresses. Kubernetes reads a client's user from the common name and its groups from the
    organisation."""
    who = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    who += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    subject, now = x509.Name(who), datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        use = ExtendedKeyUsageOID.SERVER_AUTH if addresses else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    if addresses:
        names = [x509.DNSName("localhost"), *map(x509.IPAddress, {ipaddress.ip_address(one) for one in addresses})]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(key: rsa.RSAPrivateKey, file: Path) -> None:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    file.write_bytes(encoded)
    file.chmod(0o600)
