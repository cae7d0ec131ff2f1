"""One URL is enough: Celery finds the same Redis by it as redis-py, and trusts no other certificate."""

import pytest
from celery import Celery

from glyphq.broker import create_celery
from glyphq.settings import Settings


def broker(url: str) -> Celery:
    return create_celery(Settings(redis_url=url)).connection_for_write()


@pytest.mark.parametrize(
    ("url", "transport", "host", "port", "database"),
    [
        ("redis://queue.example", "redis", "queue.example", 6379, "0"),
        ("redis://queue.example:6380/2", "redis", "queue.example", 6380, "2"),
        ("redis://queue.example/?db=2", "redis", "queue.example", 6379, "2"),
        ("rediss://queue.example:6380/2?ssl_ca_certs=/ca.pem", "rediss", "queue.example", 6380, "2"),
    ],
)
def test_it_is_the_same_server_and_database(url: str, transport: str, host: str, port: int, database: str) -> None:
    found = broker(url)
    assert (found.transport_cls, found.hostname, found.port or 6379, found.virtual_host) == (
        transport, host, port, database,
    )  # fmt: skip


def test_a_socket_is_a_socket() -> None:
    found = broker("unix:///run/redis.sock")
    assert (found.transport_cls, found.hostname) == ("redis", "socket:///run/redis.sock")


def test_user_and_password_are_taken_as_they_are_meant() -> None:
    found = broker("rediss://worker:a%2Fb%40c@queue.example")
    assert (found.userid, found.password) == ("worker", "a/b@c")


def test_a_certificate_is_looked_at_unless_the_url_says_otherwise() -> None:
    assert broker("rediss://queue.example").ssl == {"ssl_cert_reqs": "required"}
    assert broker("rediss://queue.example?ssl_cert_reqs=none").ssl == {"ssl_cert_reqs": "none"}
    assert not broker("redis://queue.example").ssl


def test_what_the_url_says_of_certificates_is_what_redis_py_would_read() -> None:
    said = "ssl_ca_certs=/ca.pem&ssl_certfile=/my.pem&ssl_keyfile=/my.key&ssl_check_hostname=false&ssl_min_version=771"
    assert broker(f"rediss://queue.example?{said}").ssl == {
        "ssl_cert_reqs": "required",
        "ssl_ca_certs": "/ca.pem",
        "ssl_certfile": "/my.pem",
        "ssl_keyfile": "/my.key",
        "ssl_check_hostname": False,
        "ssl_min_version": 771,
    }
