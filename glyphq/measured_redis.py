"""A Redis client that counts what it is refused, see `glyphq.metrics`, and says in the log when Redis is back."""

import logging
import time
from typing import Any

from redis import Redis, RedisError
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from glyphq.metrics import REDIS_ERRORS

log = logging.getLogger(__name__)


class MeasuredRedis(Redis):
    """`redis.Redis`, pipelines included."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._calls = _Calls()
        super().__init__(*arguments, **options)

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        with self._calls:
            return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]  # redis-py's

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        made = _MeasuredPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.calls = self._calls
        return made


class _MeasuredPipeline(Pipeline):
    calls: "_Calls"

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with self.calls:
            return super().execute(raise_on_error)


class _Calls:
    """Those of one client. Entered for each."""

    def __init__(self) -> None:
        self._silent_since: float | None = None  # on the monotonic clock

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (RedisConnectionError, RedisTimeoutError)) and self._silent_since is None:
            self._silent_since = time.monotonic()
        if isinstance(error, RedisError) and not isinstance(error, NoScriptError):  # after that it is told the script
            REDIS_ERRORS.inc()
        since = self._silent_since  # other threads of the same client may set it meanwhile
        if error is None and since is not None:
            self._silent_since = None
            log.info("Redis answers again, after %.0f s", time.monotonic() - since)
