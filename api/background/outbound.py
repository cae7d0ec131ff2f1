"""POST to an address that a stranger chose: no redirects, and no way to what only this machine or its network reaches.

A name is resolved here, once, and what is connected to is the address that was looked at, so a name that changes its
mind in between gains nothing. Proxies of the environment are not used.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import httpcore

from glyphq.errors import AddressRefused

Headers = Mapping[bytes | str, bytes | str]

_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
# What older Pythons take for global.
_INWARD = tuple(map(ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10", "2001::/23", "3fff::/20")))
_RESOLVED_AT_ONCE = 32


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is of the public internet, also what it stands for where it wraps an IPv4 address."""
    if isinstance(address, IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if wrapped is None and any(address in network for network in (_NAT64, _COMPATIBLE)):
            wrapped = IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(wrapped)
    inward = any(address in network for network in _INWARD)
    return address.is_global and not (inward or address.is_multicast or address.is_reserved)


class Outbound:
    """Posts to public addresses, and to whatever the operator's hosts lead to."""

    def __init__(
        self,
        allowed_hosts: Iterable[str],
        *,
        timeout_seconds: float,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """`network` connects to addresses that were looked at."""
        self._backend = _Guarded(allowed_hosts, network or httpcore.AnyIOBackend())
        self._timeout_seconds = timeout_seconds
        self._ssl_context = ssl.create_default_context()  # 40 ms, too long for each request

    async def post(self, url: str, content: bytes, headers: Headers) -> int:
        """The status of the answer, of which no more is read. Raises AddressRefused, OSError and httpcore's errors."""
        parts = urlsplit(url)
        # Not by its text: httpcore would leave out what follows a semicolon. Without a port, it knows the scheme's.
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        called = httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target=target)
        # A pool for each request, for nothing is kept of a stranger.
        async with (
            asyncio.timeout(self._timeout_seconds),
            httpcore.AsyncConnectionPool(self._ssl_context, network_backend=self._backend) as pool,
            pool.stream("POST", called, headers=headers, content=content) as response,
        ):
            return int(response.status)


class _Guarded(httpcore.AsyncNetworkBackend):
    def __init__(self, allowed_hosts: Iterable[str], network: httpcore.AsyncNetworkBackend) -> None:
        self._allowed = {host.lower() for host in allowed_hosts}
        self._network = network
        # Of its own: a stranger's name server that does not answer must not hold up whatever else waits for a thread.
        self._resolving = ThreadPoolExecutor(_RESOLVED_AT_ONCE, thread_name_prefix="resolve")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._resolving, resolve)
        allowed = not self._allowed.isdisjoint((host.lower(), f"{host.lower()}:{port}"))
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        for address in addresses:
            if not allowed and not is_public(ip_address(address.partition("%")[0])):
                raise AddressRefused(f"{host} leads to {address}, which is not public; the operator may allow it.")
        failure = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure
