"""Who may use a reward server: the token of a request, the name it calls the server by, the page that it is from."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import socket
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from embrm.errors import OptionError

LOCAL = ("localhost", "ip6-localhost", "localhost.localdomain")


@dataclass(frozen=True)
class Access:
    """Who may use a server that listens at `address`.

    A page on the web can make a browser call a server of this machine, under the page's own name where its owner lets
    that name point here (DNS rebinding). Such a request names a foreign host, or comes from a foreign origin.

    Attributes:
        address: the address that is bound.
        names: further names that requests may call the server by.
        token: what a request must bring, or None.

    Raises:
        OptionError: the token cannot stand in a header, or others can reach the address and there is no token.
    """

    address: str
    names: tuple[str, ...] = ()
    token: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and not (
            self.token and self.token.isascii() and self.token.isprintable() and " " not in self.token
        ):
            raise OptionError("the token must be printable ASCII without spaces, and not empty")
        if self.token is None and not ipaddress.ip_address(self.address).is_loopback:
            raise OptionError(
                f"{self.address} can be reached from other machines; give a token, or listen at 127.0.0.1"
            )

    def has_token(self, authorization: str) -> bool:
        """Return whether the header Authorization brings the token, as Bearer or as the password of Basic."""
        if self.token is None:
            return True
        scheme, _, value = authorization.partition(" ")
        given = b""
        if scheme.lower() == "bearer":
            given = value.strip().encode("utf-8", "replace")
        elif scheme.lower() == "basic":
            with suppress(ValueError):
                given = base64.b64decode(value.strip()).partition(b":")[2]
        return hmac.compare_digest(given, self.token.encode())  # takes as long wherever they differ

    def knows(self, host: str | None) -> bool:
        """Return whether the header Host names this server; no browser leaves it out, so that None passes."""
        if host is None:
            return True
        name = _hostname(f"//{host}")
        if name in {*LOCAL, *(n.lower().rstrip(".") for n in self.names)}:
            return True
        bound = ipaddress.ip_address(self.address)
        try:
            called = ipaddress.ip_address(name)
        except ValueError:
            return bound.is_unspecified and name in {socket.gethostname().lower(), socket.getfqdn().lower()}
        # No name leads to a bare address, so that nobody can have turned one to this machine.
        return called.is_loopback or called == bound or bound.is_unspecified

    @staticmethod
    def same_origin(origin: str | None, host: str | None) -> bool:
        """Return whether a request comes from no page of the web, or from one of the server itself."""
        if origin is None:
            return True
        return origin.partition("://")[2].lower() == (host or "").lower() != ""


def _hostname(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").rstrip(".").partition("%")[0]
    except ValueError:
        return ""
