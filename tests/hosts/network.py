"""Hosts on a network of their own: network namespaces joined by a switch, each with a name and an address.

Nothing of this machine's own network is touched. A namespace lives as long as its holder, which ends when this process
does, however that ends, and the programs that run in it. Knows nothing of what runs there.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_NEEDED = "ip", "iptables", "nsenter", "setpriv", "unshare"
_PREFIX_BITS = 24
_CLONE_NEWNET = 0x40000000


def cannot_be_had() -> str | None:
    """Why there can be no such network here; None where there can."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        return f"A network of hosts takes {', '.join(missing)}: apt-get install iproute2 iptables util-linux"
    if os.geteuid() != 0:
        return "A network of hosts takes root's rights over it: make hosts-test"
    tried = subprocess.run(["unshare", "--net", "--uts", "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        return f"Network namespaces cannot be had: {tried.stderr.strip()}"
    try:
        with _own_namespace() as own:
            _enter(own)  # as at the end of `Host.entered`
    except PermissionError as error:
        return f"{error.strerror} Use: make hosts-test"
    return None


@dataclass(frozen=True)
class Host:
    """One host, known by the process that holds its namespaces."""

    name: str
    address: str
    holder: int

    def command(self, command: Sequence[str]) -> list[str]:
        """What runs `command` on this host, as the process that it is started as."""
        there = ["nsenter", f"--target={self.holder}", "--net", "--uts", "--"]
        return ["setpriv", "--pdeathsig=KILL", *there, *command]  # it ends with this process, as the holder does

    def run(self, *command: str) -> str:
        """What the command prints."""
        return subprocess.run(self.command(command), check=True, stdout=subprocess.PIPE, text=True).stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within, the sockets that this thread opens are this host's."""
        with _own_namespace() as own, Path(f"/proc/{self.holder}/ns/net").open() as entered:
            _enter(entered)
            try:
                yield
            finally:
                _enter(own)

    def count_received(self, address: str, port: int) -> None:
        """Count, from now on, what comes from a port of another host."""
        self.run("iptables", "--wait", "--append", "INPUT", "-p", "tcp", "-s", address, "--sport", str(port))

    def received(self) -> int:
        """Bytes of what is counted, with the headers of every packet."""
        listed = self.run("iptables", "--wait", "--list", "INPUT", "-n", "-v", "-x").splitlines()
        return sum(int(line.split()[1]) for line in listed[2:])


@dataclass(frozen=True)
class Network:
    """Hosts by name, and the switch that their cables lead to."""

    switch: Host
    hosts: dict[str, Host]

    @contextmanager
    def unplugged(self, name: str) -> Iterator[None]:
        """Within, the host's cable is out: what it sends and what is sent to it vanishes, and nobody is told."""
        self.switch.run("ip", "link", "set", f"to-{name}", "down")
        try:
            yield
        finally:
            self.switch.run("ip", "link", "set", f"to-{name}", "up")


@contextmanager
def network(addresses: dict[str, str]) -> Iterator[Network]:
    """Hosts with these names and addresses, for as long as the context lasts."""
    with ExitStack() as exits:
        switch = exits.enter_context(_host("switch", ""))
        switch.run("ip", "link", "add", "switch", "type", "bridge")
        switch.run("ip", "link", "set", "switch", "up")
        hosts = {name: exits.enter_context(_host(name, address)) for name, address in addresses.items()}
        for name, host in hosts.items():
            port = f"to-{name}"
            switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.holder))
            switch.run("ip", "link", "set", port, "master", "switch", "up")
            host.run("ip", "address", "add", f"{host.address}/{_PREFIX_BITS}", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
        yield Network(switch, hosts)


@contextmanager
def _host(name: str, address: str) -> Iterator[Host]:
    hold = f"hostname {name} && ip link set lo up && echo held && exec cat"
    command = ["unshare", "--net", "--uts", "sh", "-c", hold]
    # It ends with its input at the latest, which this process has in hand.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n", f"the host {name} could not be made"
        try:
            yield Host(name, address, holder.pid)
        finally:
            holder.terminate()


def _own_namespace() -> TextIO:
    return Path("/proc/thread-self/ns/net").open()


def _enter(namespace: TextIO) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns comes with Python 3.12
    if libc.setns(namespace.fileno(), _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "The network namespace could not be entered.")
