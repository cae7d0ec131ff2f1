"""The service on four hosts and a client's: Redis and S3 on one, the API on one, a worker on each of two.

What was asked of the store, and by whom, is read from its log.
"""

import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import boto3
import httpx
import trustme
from redis import Redis

from glyphq.client import Client
from tests.faults.stack import ROOT, Faults, Program, until
from tests.hosts.network import Network

ADDRESSES = {
    "services": "10.87.0.2",
    "api": "10.87.0.3",
    "worker-1": "10.87.0.4",
    "worker-2": "10.87.0.5",
    "client": "10.87.0.9",
}
WORKERS = "worker-1", "worker-2"
S3_PORT, REDIS_PORT, API_PORT = 9000, 6379, 8000
USERS = ROOT / "deploy" / "redis" / "users.acl"
CHUNK_IMAGES = 128
LEASE_SECONDS = 3
PACE = {
    "GLYPHQ_CHUNK_IMAGES": str(CHUNK_IMAGES),
    "GLYPHQ_LEASE_SECONDS": str(LEASE_SECONDS),
    "GLYPHQ_RECONCILE_SECONDS": "0.3",
}
STORE = {
    "AWS_ENDPOINT_URL": f"http://{ADDRESSES['services']}:{S3_PORT}",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "glyphq",
    "AWS_SECRET_ACCESS_KEY": "glyphq",
}
OPERATOR = "operator"
"""The test's own user of Redis, who may do everything."""
_ASKED = re.compile(
    r'^(?P<address>\S+) - - \[[^]]*\] "(?:\x1b\[\d+m)*(?P<method>\w+) (?P<path>\S+) [^"]*" (?P<status>\d+)'
)


class Asked(NamedTuple):
    """One request that the store has answered."""

    address: str
    method: str
    path: str
    status: int


@dataclass
class Cluster:
    """The running service. Sockets that a test opens are the client's."""

    network: Network
    programs: dict[str, Program]
    folder: Path
    passwords: dict[str, str]
    authority: Path
    """The certificate of whoever vouches for Redis."""
    faults: Faults
    """Of worker-2."""
    key: str = ""

    @property
    def url(self) -> str:
        return f"http://{ADDRESSES['api']}:{API_PORT}"

    def client(self) -> Client:
        return Client(self.url, self.key)

    def redis_url(self, user: str, authority: Path | None = None) -> str:
        where = f"{ADDRESSES['services']}:{REDIS_PORT}/0?ssl_ca_certs={quote(str(authority or self.authority))}"
        return f"rediss://{user}:{quote(self.passwords[user])}@{where}"

    def redis(self, user: str = OPERATOR) -> Redis:
        return Redis.from_url(self.redis_url(user), decode_responses=True)

    def log(self, name: str) -> str:
        """What the program has written."""
        return (self.folder / f"{name}.log").read_text()

    def beat(self, worker: str) -> Path:
        """Where the worker of this host shows that it lives."""
        return self.folder / f"{worker}.beat"

    def asked(self) -> list[Asked]:
        """What the store has been asked."""
        found = (_ASKED.match(line) for line in self.log("s3").splitlines())
        return [Asked(each["address"], each["method"], each["path"], int(each["status"])) for each in found if each]

    def writers(self, job_id: str) -> dict[int, str]:
        """Which host wrote the result of each chunk of the job, as far as there are any."""
        names = {address: name for name, address in ADDRESSES.items()}
        return {
            int(found[1]): names[each.address]
            for each in self.asked()
            if each.method == "PUT" and each.status == httpx.codes.OK
            if (found := re.search(rf"/{job_id}/results/(\d+)\.arrow", each.path))
        }

    def received(self) -> dict[str, int]:
        """Bytes that each worker's host has had from the store."""
        return {name: self.network.hosts[name].received() for name in WORKERS}

    def ready(self) -> bool:
        for program in self.programs.values():
            assert program.running, f"{program.name} has ended:\n{self.log(program.name)[-3000:]}"
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.is_success and all(self.heard_from(name) for name in WORKERS)

    def heard_from(self, worker: str) -> bool:
        """Whether a process on this host has its model and lives."""
        with self.redis() as redis:
            return next(redis.scan_iter(match=f"glyphq:worker:{worker}:*", count=1000), None) is not None

    def variables(self, user: str) -> dict[str, str]:
        """All that a program of the service has to be told, wherever it runs."""
        return {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **PACE,
            **STORE,
            "GLYPHQ_STORE_URL": "s3://scans/glyphq",
            "GLYPHQ_REDIS_URL": self.redis_url(user),
        }


@contextmanager
def cluster(folder: Path, hosts: Network) -> Iterator[Cluster]:
    """The service, ready; at the end its programs are killed."""
    certificates = folder / "certificates"
    certificates.mkdir(parents=True)
    passwords = {user: secrets.token_urlsafe() for user in ("api", "worker", OPERATOR)}
    (folder / "faults").mkdir()
    made = Cluster(hosts, {}, folder, passwords, certificates / "ca.pem", Faults(folder / "faults"))
    _issue(certificates)
    python = sys.executable
    workers = {name: [python, "-m", "worker", "--concurrency", "1", "--beat", str(made.beat(name))] for name in WORKERS}
    services, listens = ADDRESSES["services"], {"GLYPHQ_HOST": ADDRESSES["api"], "GLYPHQ_PORT": str(API_PORT)}
    programs = {
        "redis": ("services", _redis_command(folder, certificates, passwords), {}),
        "s3": ("services", [python, "-m", "moto.server", "-H", services, "-p", str(S3_PORT)], {}),
        "api": ("api", [python, "-m", "api"], made.variables("api") | listens),
        "worker-1": ("worker-1", workers["worker-1"], made.variables("worker")),
        "worker-2": ("worker-2", workers["worker-2"], made.variables("worker") | made.faults.variables),
    }
    with ExitStack() as exits:
        with hosts.hosts["client"].entered():  # not while other folders' tests run
            for name, (host, command, variables) in programs.items():
                output = exits.enter_context((folder / f"{name}.log").open("wb"))
                program = Program(name, hosts.hosts[host].command(command), variables, output)
                made.programs[name] = program
                exits.callback(lambda ended=program: ended.running and ended.kill())
            for name in WORKERS:
                hosts.hosts[name].count_received(services, S3_PORT)
            made.programs["s3"].start()
            until(lambda: "Running on" in made.log("s3"), "the store answers")
            boto3.client(
                "s3", "us-east-1", endpoint_url=STORE["AWS_ENDPOINT_URL"],
                aws_access_key_id="glyphq", aws_secret_access_key="glyphq",
            ).create_bucket(Bucket="scans")  # fmt: skip
            for name in ("redis", "api", *WORKERS):
                made.programs[name].start()
            until(lambda: "#key=" in made.log("api"), "the API has shown its first key")
            made.key = made.log("api").split("#key=")[1].split()[0]
            until(made.ready, "the service is ready")
        yield made


def _issue(certificates: Path) -> None:
    """An authority of our own, a certificate for Redis by it, and another authority that vouches for nobody."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(certificates / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(certificates / "other-ca.pem"))
    issued = authority.issue_cert(ADDRESSES["services"])
    issued.private_key_pem.write_to_path(str(certificates / "redis.key"))
    issued.cert_chain_pems[0].write_to_path(str(certificates / "redis.pem"))


def _redis_command(folder: Path, certificates: Path, passwords: dict[str, str]) -> list[str]:
    """Redis that speaks TLS alone and knows the users of deploy/redis/users.acl."""
    users = USERS.read_text() + f"user {OPERATOR} on >PASSWORD-OF-{OPERATOR.upper()} ~* &* +@all\n"
    for user, password in passwords.items():
        users = users.replace(f"PASSWORD-OF-{user.upper()}", password)
    (folder / "users.acl").write_text(users)
    server = folder / "redis-server"  # as the package redis-server has it, which starts one besides
    server.symlink_to(str(shutil.which("redis-check-rdb")))
    return [
        str(server), "--bind", ADDRESSES["services"], "--port", "0", "--tls-port", str(REDIS_PORT),
        "--tls-cert-file", str(certificates / "redis.pem"), "--tls-key-file", str(certificates / "redis.key"),
        "--tls-ca-cert-file", str(certificates / "ca.pem"), "--tls-auth-clients", "no",
        "--aclfile", str(folder / "users.acl"), "--save", "", "--appendonly", "no",
        "--maxmemory-policy", "noeviction", "--dir", str(folder),
    ]  # fmt: skip
