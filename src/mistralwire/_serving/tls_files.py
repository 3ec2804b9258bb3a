"""A server's certificate, private key and client CA, reloaded when their files change."""

import datetime
import logging
import pathlib
import re
import ssl
import time
from typing import NamedTuple

from mistralwire._files import Watched, file_error, file_problem, is_open_to_all, read_file

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED")

_logger = logging.getLogger(__name__)


class TlsMaterial(NamedTuple):
    """The content of the files, as PEM: the chain has the server's own certificate first.

    Attributes:
        authorities: The CAs that must have issued callers' certificates; None for no client certificates.
        context: A server's context with chain and key, new each time the files are read.
    """

    chain: bytes
    key: bytes
    authorities: bytes | None
    context: ssl.SSLContext


class TlsFiles:
    """The TLS files of a server: PEM files, as the settings `tls_certificate`, `tls_key` and `tls_client_ca`.

    A connection uses the content of the files at the time it was opened, so certificates are rotated by
    replacing the files. While new files are invalid the previous content stays in use, and the log says why
    once. At first that is a MistralwireError with the code FAILED_PRECONDITION and the name of the setting as
    the reason.
    """

    def __init__(
        self, certificate: pathlib.Path, key: pathlib.Path, client_ca: pathlib.Path | None = None
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._expires_s: float | None = None
        paths = [path for path in (certificate, key, client_ca) if path is not None]
        self._files = Watched(paths, self._read, f"TLS files {', '.join(map(str, paths))}", _logger)
        if is_open_to_all(key):
            _logger.warning("tls_key: every user of this machine may read %s; change its mode", key)

    def current(self) -> TlsMaterial:
        """Return the content of the files now. To be called before each handshake; thread-safe."""
        material = self._files.current()
        self._warn_when_expired()
        return material

    def _read(self) -> TlsMaterial:
        chain = read_file("tls_certificate", self._certificate)
        key = read_file("tls_key", self._key)
        authorities = None if self._client_ca is None else read_file("tls_client_ca", self._client_ca)
        context = self._context_of(chain, key)
        if authorities is not None:
            self._check_authorities(authorities)
        self._expires_s = self._expiry(chain)
        self._warn_when_expired()
        return TlsMaterial(chain, key, authorities, context)

    def _context_of(self, chain: bytes, key: bytes) -> ssl.SSLContext:
        """Load the pair with OpenSSL, since grpc gives no reason for one that it rejects."""
        if not _CERTIFICATE.search(chain):
            message = f"expected a PEM certificate in {self._certificate}, found none"
            raise file_error("tls_certificate", message)
        if _ENCRYPTED.search(key):
            message = f"expected a private key without a passphrase in {self._key}, found an encrypted one"
            raise file_error("tls_key", f"{message}; decrypt it with openssl pkey")
        if not _PRIVATE_KEY.search(key):
            raise file_error("tls_key", f"expected a PEM private key in {self._key}, found none")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # The password keeps OpenSSL from prompting for one at the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                message = (
                    f"expected the private key of the first certificate in {self._certificate}, found "
                    f"another one in {self._key}"
                )
                raise file_error("tls_key", message) from None
            message = (
                f"expected a certificate chain in {self._certificate} and its private key in {self._key}, "
                f"found what OpenSSL can't use ({error.reason or 'damaged PEM'})"
            )
            raise file_error("tls_certificate", message) from None
        except OSError as error:
            message = f"expected files to read, found: {file_problem(error)}"
            raise file_error("tls_certificate", message) from None
        return context

    def _check_authorities(self, authorities: bytes) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Only the PEM blocks: the rest of such files is often comments in any encoding.
            certificates = b"\n".join(_CERTIFICATE.findall(authorities))
            context.load_verify_locations(cadata=certificates.decode("ascii"))
        except (ssl.SSLError, ValueError):
            message = f"expected PEM certificates of authorities in {self._client_ca}, found none that work"
            raise file_error("tls_client_ca", message) from None

    def _expiry(self, chain: bytes) -> float | None:
        """Return when the server's certificate expires, in Unix seconds; warn if it is not valid yet."""
        first = _CERTIFICATE.search(chain)
        if first is None:
            return None
        begins_s, ends_s = validity(ssl.PEM_cert_to_DER_cert(first[0].decode("ascii")))
        if begins_s > time.time():
            _logger.warning(
                "tls_certificate: %s is not valid yet, but from %s on", self._certificate, _date(begins_s)
            )
        return ends_s

    def _warn_when_expired(self) -> None:
        """Warn once that callers will reject the certificate."""
        if self._expires_s is not None and self._expires_s < time.time():
            _logger.warning(
                "tls_certificate: %s expired at %s; callers will reject it until it is renewed",
                self._certificate,
                _date(self._expires_s),
            )
            self._expires_s = None


def validity(certificate: bytes) -> tuple[float, float]:
    """Read begin and end of a DER certificate's validity, in Unix seconds; ssl exposes only a peer's.

    Source: RFC 5280, section 4.1
    """
    _, content, _ = _element(certificate, 0)
    _, content, _ = _element(content, 0)  # tbsCertificate
    position = 0
    tag, _, after = _element(content, position)
    if tag == 0xA0:  # version, which the first version leaves out
        position = after
    for _ in ("serialNumber", "signature", "issuer"):
        _, _, position = _element(content, position)
    _, content, _ = _element(content, position)
    begin_tag, begin, position = _element(content, 0)
    end_tag, end, _ = _element(content, position)
    return _seconds(begin_tag, begin), _seconds(end_tag, end)


def _element(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Read a DER element: its tag, its content and the position behind it."""
    tag, length = data[position], data[position + 1]
    position += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[position : position + count], "big")
        position += count
    return tag, data[position : position + length], position + length


def _seconds(tag: int, text: bytes) -> float:
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"  # UTCTime or GeneralizedTime
    moment = datetime.datetime.strptime(text.decode("ascii"), form)
    return moment.replace(tzinfo=datetime.UTC).timestamp()


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
