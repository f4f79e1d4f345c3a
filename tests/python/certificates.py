"""Certificates for a test, made anew for each run: nothing of them is worth keeping, and none can expire.

usage: certificates.py FOLDER PASSWORD

`ca.pem` signed `broker.pem` (for localhost) and `client.pem`, whose key `client.key` has the password; `stranger.pem`, with its key
`stranger.key`, signed none of them.
`broker.all` is the broker's key with both certificates.
"""

import datetime
import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder, password = Path(sys.argv[1]), sys.argv[2]
now = datetime.datetime.now(datetime.timezone.utc)


def make(name, issuer=None, password=None):
    """A certificate of this name, signed by `issuer` or by itself; gives its name and key, to sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer, signing_key = issuer or (subject, key)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    encryption = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return (subject, key), certificate.public_bytes(serialization.Encoding.PEM), pem


authority, ca, _ = make("ca")
_, stranger, stranger_key = make("stranger")
_, broker, broker_key = make("localhost", authority)
_, client, client_key = make("weir", authority, password)
files = {
    "ca.pem": ca,
    "stranger.pem": stranger,
    "stranger.key": stranger_key,
    "broker.pem": broker,
    "broker.key": broker_key,
    "broker.all": broker_key + broker + ca,
    "client.pem": client,
    "client.key": client_key,
}
for name, content in files.items():
    (folder / name).write_bytes(content)
    (folder / name).chmod(0o600)
print(json.dumps(sorted(files)))
