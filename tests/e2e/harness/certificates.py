"""Certificates for receivers: one authority, and whatever host a test needs."""

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key, days):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=days)))


class Authority:
    """Signs; `ca_file` is what a policy names as extra roots."""

    def __init__(self, folder):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = (_builder(_name("test authority"), _name("test authority"), self.key, 30)
                            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                            .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True,
                                                         content_commitment=False, key_encipherment=False,
                                                         data_encipherment=False, key_agreement=False,
                                                         encipher_only=False, decipher_only=False), critical=True)
                            .sign(self.key, hashes.SHA256()))
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def files(self, host, *, trusted=True, days=30):
        """Paths of a certificate and its key for `host`; self-signed unless trusted."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject if trusted else _name(host)
        signer = self.key if trusted else key
        certificate = (_builder(_name(host), issuer, key, days)
                       .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
                       .sign(signer, hashes.SHA256()))
        stem = f"{host}-{'good' if trusted else 'self'}-{days}"
        pem, key_pem = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                              serialization.NoEncryption()))
        return pem, key_pem

    def context(self, host, **how):
        pem, key = self.files(host, **how)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        return context
