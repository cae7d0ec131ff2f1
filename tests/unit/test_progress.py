"""What Redis is asked, on a real server of its own: windows, claims, leases, the interactive lane, epochs."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import ANY

import pytest
from redis import Redis

from glyphq import progress as progress_module
from glyphq.jobs import Counts
from glyphq.progress import EPOCH, EVENTS, Claim, Progress, Sending, Waiting

QUEUE = "bulk"
CHUNKS = 10
WINDOW = 4
OWNER_WINDOW = 8
ROWS = Counts(100, classified=90, blank=7, rejected=3, doubtful=11, inverted=2, several=5)
UNCLAIMED_MS = progress_module._UNCLAIMED_MS


@pytest.fixture
def progress(redis: Redis) -> Progress:
    return Progress(redis, window=WINDOW, owner_window=OWNER_WINDOW, lease_seconds=30)


@pytest.fixture
def fleeting(redis: Redis) -> Progress:
    """The same with leases of a millisecond."""
    return Progress(redis, window=WINDOW, owner_window=OWNER_WINDOW, lease_seconds=0.001)


@pytest.fixture
def heard(redis: Redis) -> Iterator[Callable[[], str]]:
    """Answers the next event that was published, or fails when none comes."""
    with redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(EVENTS)
        channel.get_message(timeout=5)  # that it is subscribed

        def following() -> str:
            message = channel.get_message(timeout=5)
            assert message is not None
            return str(message["data"])

        yield following


def now_ms(redis: Redis) -> int:
    seconds, microseconds = redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def let_pass(redis: Redis, milliseconds: int = 3) -> None:
    """Until Redis' clock has moved on."""
    until = now_ms(redis) + milliseconds
    while now_ms(redis) < until:
        pass


def grown_old(redis: Redis, milliseconds: int) -> int:
    """Make every message look as if it had been sent so much earlier; answers the time."""
    for key in redis.scan_iter(match="*:out"):
        for chunk, state in redis.hgetall(key).items():
            if state.startswith("sent:"):
                redis.hset(key, chunk, f"sent:{int(state.removeprefix('sent:')) - milliseconds}")
    return now_ms(redis)


class TestOwnersWindow:
    def test_a_lone_job_has_its_whole_window(self, progress: Progress) -> None:
        progress.open("ada", "1")
        assert len(progress.next_chunks("ada", "1", CHUNKS).chunks) == WINDOW

    def test_jobs_of_one_owner_share_its_window_in_equal_parts(self, progress: Progress) -> None:
        for job in "1234":
            progress.open("ada", job)
        assert [len(progress.next_chunks("ada", job, CHUNKS).chunks) for job in "1234"] == [2, 2, 2, 2]

    def test_the_oldest_jobs_come_first_and_the_rest_wait(self, progress: Progress) -> None:
        jobs = [f"{number:03}" for number in range(100)]
        for job in reversed(jobs):
            progress.open("ada", job)
        out = {job: len(progress.next_chunks("ada", job, CHUNKS).chunks) for job in jobs}
        assert [job for job in jobs if out[job]] == jobs[:OWNER_WINDOW]
        assert sum(out.values()) == OWNER_WINDOW

    def test_another_owner_has_a_window_of_its_own(self, progress: Progress) -> None:
        for job in range(100):
            progress.open("ada", f"{job:03}")
        for owner in ("ad", "ada-", "adb", "aea"):
            progress.open(owner, f"of-{owner}")
            assert len(progress.next_chunks(owner, f"of-{owner}", CHUNKS).chunks) == WINDOW
        assert len(progress.next_chunks("ada", "000", CHUNKS).chunks) == 1

    def test_a_chunk_that_is_done_makes_room_for_one_of_the_same_job_only(self, progress: Progress) -> None:
        for job in "12345678":
            progress.open("ada", job)
        assert [progress.next_chunks("ada", job, CHUNKS).chunks for job in "12"] == [(0,), (0,)]
        assert progress.done("ada", "1", 0, CHUNKS, ROWS)[1].chunks == (1,)

    def test_when_a_job_ends_the_next_one_is_let_in(self, progress: Progress) -> None:
        jobs = [f"{number:03}" for number in range(OWNER_WINDOW + 2)]
        for job in jobs:
            progress.open("ada", job)
        assert progress.last_let_in("ada") == jobs[OWNER_WINDOW - 1]
        progress.forget("ada", jobs[3])
        assert progress.last_let_in("ada") == jobs[OWNER_WINDOW]
        assert len(progress.next_chunks("ada", jobs[OWNER_WINDOW], CHUNKS).chunks) == 1
        assert progress.last_let_in("bob") is None


class TestNextChunks:
    def test_the_first_ones_up_to_the_window(self, progress: Progress) -> None:
        assert progress.next_chunks("local", "job", CHUNKS).chunks == (0, 1, 2, 3)

    def test_a_full_window_lets_nothing_out(self, progress: Progress) -> None:
        progress.next_chunks("local", "job", CHUNKS)
        assert progress.next_chunks("local", "job", CHUNKS).chunks == ()

    def test_a_small_job_is_sent_whole(self, progress: Progress) -> None:
        assert progress.next_chunks("local", "job", 2).chunks == (0, 1)

    def test_they_carry_the_servers_time(self, progress: Progress, redis: Redis) -> None:
        before = now_ms(redis)
        assert before <= progress.next_chunks("local", "job", CHUNKS).sent <= now_ms(redis)

    def test_jobs_have_windows_of_their_own(self, progress: Progress) -> None:
        progress.next_chunks("local", "one", CHUNKS)
        assert progress.next_chunks("local", "two", CHUNKS).chunks == (0, 1, 2, 3)

    def test_askers_at_once_get_each_chunk_once(self, redis: Redis) -> None:
        wide = Progress(redis, window=40, owner_window=80, lease_seconds=30)
        together = threading.Barrier(8)

        def ask() -> tuple[int, ...]:
            together.wait()
            return wide.next_chunks("local", "job", 100).chunks

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask) for _ in range(8)]
        picked = [chunk for answer in asked for chunk in answer.result()]
        assert sorted(picked) == list(range(40))

    @pytest.mark.parametrize("chunks", [1, 7, 8, 9, 16, 17])
    def test_every_chunk_is_picked_once_until_all_are_done(self, progress: Progress, chunks: int) -> None:
        picked: list[int] = []
        finished = False
        waiting = list(progress.next_chunks("local", "job", chunks).chunks)
        while waiting:
            chunk = waiting.pop(0)
            picked.append(chunk)
            assert not finished
            finished, following = progress.done("local", "job", chunk, chunks, Counts(1, classified=1))
            waiting += following.chunks
            assert len(waiting) <= WINDOW
        assert finished
        assert picked == list(range(chunks))
        assert progress.next_chunks("local", "job", chunks).chunks == ()


class TestClaim:
    def test_a_chunk_that_was_sent_is_granted(self, progress: Progress) -> None:
        sent = progress.next_chunks("local", "job", CHUNKS).sent
        assert progress.claim("job", 0, "worker", sent) == Claim(granted=True, done=False, deaths=0)

    def test_a_chunk_that_nobody_knows_of_is_granted_too(self, progress: Progress) -> None:
        assert progress.claim("job", 5, "worker", 0).granted

    def test_a_chunk_that_another_holds_is_refused(self, progress: Progress) -> None:
        progress.claim("job", 0, "first", 0)
        assert progress.claim("job", 0, "second", 0) == Claim(granted=False, done=False, deaths=0)

    def test_whoever_holds_it_may_claim_it_again(self, progress: Progress) -> None:
        progress.claim("job", 0, "worker", 0)
        assert progress.claim("job", 0, "worker", 0).granted

    def test_of_claimants_at_once_one_is_granted(self, progress: Progress) -> None:
        together = threading.Barrier(8)

        def claim(token: int) -> bool:
            together.wait()
            return progress.claim("job", 0, f"worker {token}", 0).granted

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(claim, range(8))).count(True) == 1

    def test_a_chunk_that_is_done_is_refused_and_said_to_be_done(self, progress: Progress) -> None:
        progress.done("local", "job", 0, CHUNKS, ROWS)
        assert progress.claim("job", 0, "worker", 0) == Claim(granted=False, done=True, deaths=0)

    def test_a_lease_that_ran_out_no_longer_protects(self, fleeting: Progress, redis: Redis) -> None:
        fleeting.claim("job", 0, "first", 0)
        let_pass(redis)
        assert fleeting.claim("job", 0, "second", 0).granted

    def test_a_claimed_chunk_still_counts_in_the_window(self, progress: Progress) -> None:
        for chunk in progress.next_chunks("local", "job", CHUNKS).chunks:
            progress.claim("job", chunk, "worker", 0)
        assert progress.next_chunks("local", "job", CHUNKS).chunks == ()


class TestRenew:
    def test_it_prolongs_the_lease(self, fleeting: Progress, progress: Progress, redis: Redis) -> None:
        fleeting.claim("job", 0, "worker", 0)
        assert progress.renew("job", 0, "worker")
        let_pass(redis)
        assert progress.lost_chunks("job", QUEUE).chunks == ()
        assert not progress.claim("job", 0, "another", 0).granted

    def test_it_does_not_take_a_chunk_from_another(self, fleeting: Progress, progress: Progress, redis: Redis) -> None:
        fleeting.claim("job", 0, "slow", 0)
        let_pass(redis)
        progress.claim("job", 0, "quick", 0)
        assert not progress.renew("job", 0, "slow")
        assert progress.renew("job", 0, "quick")
        assert progress.claim("job", 0, "quick", 0).granted
        assert not progress.claim("job", 0, "slow", 0).granted

    def test_it_holds_the_chunk_again_after_a_flush(self, progress: Progress, redis: Redis) -> None:
        progress.claim("job", 0, "worker", 0)
        redis.flushall()
        assert progress.renew("job", 0, "worker")
        assert not progress.claim("job", 0, "another", 0).granted

    def test_it_says_that_the_job_has_ended(self, progress: Progress) -> None:
        progress.claim("job", 0, "worker", 0)
        progress.forget("local", "job")
        assert not progress.renew("job", 0, "worker")


class TestDone:
    def test_it_answers_what_to_send_next(self, progress: Progress) -> None:
        progress.next_chunks("local", "job", CHUNKS)
        finished, following = progress.done("local", "job", 1, CHUNKS, ROWS)
        assert not finished
        assert following.chunks == (4,)
        assert progress.done_chunks("job") == {1}

    def test_the_last_one_finishes_the_job(self, progress: Progress) -> None:
        assert [progress.done("local", "job", chunk, 3, ROWS)[0] for chunk in (2, 0, 1)] == [False, False, True]

    def test_rows_are_counted_once_however_often_it_is_reported(self, progress: Progress) -> None:
        for _ in range(3):
            finished, _ = progress.done("local", "job", 0, 2, ROWS)
            assert not finished
        assert progress.counts("job", 1000) == replace(ROWS, total=1000)

    def test_a_repeated_last_report_still_says_that_all_are_done(self, progress: Progress) -> None:
        assert progress.done("local", "job", 0, 1, ROWS)[0]
        assert progress.done("local", "job", 0, 1, ROWS)[0]

    def test_counts_of_chunks_add_up(self, progress: Progress) -> None:
        progress.done("local", "job", 0, 2, Counts(3, classified=1, blank=2))
        progress.done("local", "job", 1, 2, Counts(5, classified=2, rejected=3))
        assert progress.counts("job", 8) == Counts(8, classified=3, blank=2, rejected=3)

    def test_nothing_is_known_of_a_job_without_a_done_chunk(self, progress: Progress) -> None:
        progress.next_chunks("local", "job", CHUNKS)
        assert progress.counts("job", 100) is None
        assert progress.done_chunks("job") == set()

    def test_done_bits_are_read_whole(self, progress: Progress) -> None:
        chunks = {0, 7, 8, 63, 200, 1023}
        for chunk in chunks:
            progress.done("local", "job", chunk, 2000, ROWS)
        assert progress.done_chunks("job") == chunks

    def test_it_tells_whoever_follows(self, progress: Progress, heard: Callable[[], str]) -> None:
        progress.done("local", "job", 0, CHUNKS, ROWS)
        assert heard() == "job"

    def test_a_chunk_that_is_done_is_not_lost(self, fleeting: Progress, redis: Redis) -> None:
        fleeting.claim("job", 0, "worker", 0)
        fleeting.done("local", "job", 0, 1, ROWS)
        let_pass(redis)
        assert fleeting.lost_chunks("job", QUEUE).chunks == ()


class TestLost:
    def test_a_held_chunk_is_not(self, progress: Progress) -> None:
        progress.claim("job", 0, "worker", 0)
        assert progress.lost_chunks("job", QUEUE).chunks == ()

    def test_a_lease_that_ran_out_is_a_death(self, fleeting: Progress, redis: Redis) -> None:
        fleeting.claim("job", 3, "worker", 0)
        let_pass(redis)
        lost = fleeting.lost_chunks("job", QUEUE)
        assert lost.chunks == (3,)
        assert fleeting.claim("job", 3, "worker", lost.sent) == Claim(granted=True, done=False, deaths=1)

    def test_deaths_add_up_and_are_each_chunks_own(self, fleeting: Progress, redis: Redis) -> None:
        for deaths in range(3):
            assert fleeting.claim("job", 3, f"worker {deaths}", 0).deaths == deaths
            let_pass(redis)
            fleeting.lost_chunks("job", QUEUE)
        assert fleeting.claim("job", 4, "worker", 0).deaths == 0

    def test_a_lost_chunk_is_lost_once_for_each_sending(self, fleeting: Progress, redis: Redis) -> None:
        fleeting.claim("job", 3, "worker", 0)
        let_pass(redis)
        before = now_ms(redis)
        assert before <= fleeting.lost_chunks("job", QUEUE).sent
        assert fleeting.lost_chunks("job", QUEUE).chunks == ()

    def test_a_lost_chunk_stays_in_the_window(self, fleeting: Progress, redis: Redis) -> None:
        for chunk in fleeting.next_chunks("local", "job", CHUNKS).chunks:
            fleeting.claim("job", chunk, "worker", 0)
        let_pass(redis)
        assert sorted(fleeting.lost_chunks("job", QUEUE).chunks) == [0, 1, 2, 3]
        assert fleeting.next_chunks("local", "job", CHUNKS).chunks == ()

    def test_a_message_that_was_just_sent_is_not(self, progress: Progress) -> None:
        progress.next_chunks("local", "job", CHUNKS)
        assert progress.lost_chunks("job", QUEUE).chunks == ()

    def test_a_message_is_when_one_sent_much_later_was_claimed(self, progress: Progress, redis: Redis) -> None:
        redis.rpush(QUEUE, "a message")
        progress.next_chunks("local", "job", CHUNKS)
        progress.claim("another", 0, "worker", grown_old(redis, UNCLAIMED_MS - 1000))
        assert progress.lost_chunks("job", QUEUE).chunks == ()
        progress.claim("another", 1, "worker", grown_old(redis, 2000))
        assert sorted(progress.lost_chunks("job", QUEUE).chunks) == [0, 1, 2, 3]

    def test_an_older_claim_does_not_hide_a_younger_one(self, progress: Progress, redis: Redis) -> None:
        redis.rpush(QUEUE, "a message")
        progress.next_chunks("local", "job", CHUNKS)
        now = grown_old(redis, UNCLAIMED_MS + 1000)
        progress.claim("another", 1, "worker", now)
        progress.claim("another", 2, "worker", now - UNCLAIMED_MS)
        assert len(progress.lost_chunks("job", QUEUE).chunks) == WINDOW

    def test_nothing_is_when_the_servers_clock_was_set_back(self, progress: Progress, redis: Redis) -> None:
        redis.rpush(QUEUE, "a message")
        progress.claim("another", 1, "worker", now_ms(redis) + 3_600_000)
        progress.next_chunks("local", "job", CHUNKS)
        assert progress.lost_chunks("job", QUEUE).chunks == ()

    def test_a_message_is_when_it_is_old_and_the_queue_is_empty(
        self, progress: Progress, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress_module, "_UNCLAIMED_EMPTY_MS", 1)
        sent = progress.next_chunks("local", "job", CHUNKS).sent
        let_pass(redis)
        redis.rpush(QUEUE, "a message")
        assert progress.lost_chunks("job", QUEUE).chunks == ()
        redis.delete(QUEUE)
        lost = progress.lost_chunks("job", QUEUE)
        assert sorted(lost.chunks) == [0, 1, 2, 3]
        assert lost.sent > sent

    def test_a_chunk_that_was_given_back_is_when_a_message_would_be(self, progress: Progress, redis: Redis) -> None:
        progress.claim("job", 2, "worker", 0)
        progress.release("job", 2, "worker")
        assert progress.lost_chunks("job", QUEUE).chunks == ()
        grown_old(redis, 3000)
        assert progress.lost_chunks("job", QUEUE).chunks == (2,)

    def test_a_chunk_that_another_holds_is_not_given_back(self, progress: Progress) -> None:
        progress.claim("job", 2, "worker", 0)
        progress.release("job", 2, "another")
        assert progress.renew("job", 2, "worker")

    def test_a_chunk_that_was_given_back_is_no_death(self, progress: Progress) -> None:
        progress.claim("job", 2, "worker", 0)
        progress.release("job", 2, "worker")
        lost = progress.lost_chunks("job", QUEUE)
        assert progress.claim("job", 2, "worker", lost.sent).deaths == 0

    def test_nothing_is_lost_of_a_job_that_nobody_knows(self, progress: Progress) -> None:
        assert progress.lost_chunks("job", QUEUE).chunks == ()


class TestRebuild:
    def test_bits_and_counts_say_what_they_are_told(self, progress: Progress) -> None:
        progress.rebuild("job", [0, 3, 9], ROWS)
        assert progress.done_chunks("job") == {0, 3, 9}
        assert progress.counts("job", 100) == ROWS
        assert progress.next_chunks("local", "job", CHUNKS).chunks == (1, 2, 4, 5)

    def test_what_was_said_before_is_forgotten(self, progress: Progress) -> None:
        progress.done("local", "job", 1, CHUNKS, Counts(7, classified=7))
        progress.rebuild("job", [0], ROWS)
        assert progress.done_chunks("job") == {0}
        assert progress.counts("job", 100) == ROWS

    def test_nothing_done_is_nothing_done(self, progress: Progress) -> None:
        progress.done("local", "job", 1, CHUNKS, ROWS)
        progress.rebuild("job", [], Counts(100))
        assert progress.done_chunks("job") == set()
        assert progress.counts("job", 100) == Counts(100)

    def test_what_is_out_stays_out_unless_it_is_done(self, progress: Progress) -> None:
        progress.next_chunks("local", "job", CHUNKS)
        progress.rebuild("job", [0, 1], ROWS)
        assert progress.next_chunks("local", "job", CHUNKS).chunks == (4, 5)

    def test_the_count_goes_on_from_there(self, progress: Progress) -> None:
        progress.rebuild("job", [0, 1], ROWS)
        assert not progress.done("local", "job", 1, 3, ROWS)[0]
        assert progress.done("local", "job", 2, 3, Counts(1, blank=1))[0]
        assert progress.counts("job", 101) == replace(ROWS, total=101, blank=8)

    def test_a_job_of_very_many_chunks_fits(self, progress: Progress) -> None:
        chunks = range(0, 20_000, 2)
        progress.rebuild("job", chunks, ROWS)
        assert progress.done_chunks("job") == set(chunks)


class TestOpenJobs:
    def test_they_are_those_that_were_opened_and_not_forgotten(self, progress: Progress) -> None:
        for owner, job in (("local", "b"), ("local", "a"), ("other", "c"), ("local", "b")):
            progress.open(owner, job)
        progress.forget("other", "c")
        assert progress.open_jobs() == [("local", "a"), ("local", "b")]

    def test_a_forgotten_job_leaves_nothing_for_long(self, progress: Progress, redis: Redis) -> None:
        progress.open("local", "job")
        progress.next_chunks("local", "job", CHUNKS)
        progress.claim("job", 0, "worker", 0)
        progress.done("local", "job", 0, CHUNKS, ROWS)
        progress.forget("local", "job")
        assert progress.counts("job", 100) is None
        left = [key for key in redis.scan_iter() if ":job:" in str(key)]
        assert len(left) == 1
        assert 0 < redis.ttl(left[0]) <= 300  # ten leases

    def test_forgetting_tells_whoever_waits(self, progress: Progress, heard: Callable[[], str]) -> None:
        progress.forget("local", "job")
        assert heard() == "job"

    def test_what_is_kept_of_a_job_that_nobody_ends_goes_by_itself(self, progress: Progress, redis: Redis) -> None:
        progress.next_chunks("local", "job", CHUNKS)
        progress.claim("job", 0, "worker", 0)
        progress.done("local", "job", 0, CHUNKS, ROWS)
        ttls = [redis.ttl(key) for key in redis.scan_iter() if ":job:" in str(key)]
        assert len(ttls) == 3
        assert all(0 < ttl <= 24 * 3600 for ttl in ttls)


class TestInteractive:
    ONE, TWO, THREE = (Waiting("local", name, images) for name, images in (("one", 1), ("two", 5), ("three", 20)))

    def test_jobs_are_popped_oldest_first(self, progress: Progress) -> None:
        for job in (self.THREE, self.ONE, self.TWO):
            progress.push(job)
        assert progress.pop(100) == [self.THREE, self.ONE, self.TWO]

    def test_they_are_popped_up_to_about_so_many_images(self, progress: Progress) -> None:
        for job in (self.TWO, self.THREE, self.ONE):
            progress.push(job)
        assert progress.pop(6) == [self.TWO, self.THREE]
        assert progress.pop(6) == [self.ONE]
        assert progress.pop(6) == []

    def test_owners_take_turns_image_by_image(self, progress: Progress) -> None:
        flood = [Waiting("bob", f"flood{number}", 20) for number in range(5)]
        lone = [Waiting("ada", f"lone{number}", 1) for number in range(30)]
        progress.push(*flood)
        progress.push(*lone)
        assert progress.pop(64) == [lone[0], flood[0], *lone[1:21], flood[1], *lone[21:24]]
        assert progress.pop(100) == [*lone[24:], *flood[2:]]

    def test_who_comes_late_waits_for_no_flood(self, progress: Progress) -> None:
        flood = [Waiting("bob", f"flood{number}", 32) for number in range(9)]
        progress.push(*flood)
        assert progress.pop(64) == flood[:2]
        progress.push(self.ONE)
        assert progress.pop(2) == [self.ONE, flood[2]]

    def test_who_was_idle_has_saved_no_turns(self, progress: Progress) -> None:
        ada, bob = ([Waiting(owner, f"{owner}{number}", 10) for number in range(6)] for owner in ("ada", "bob"))
        progress.push(*bob)
        assert progress.pop(30) == bob[:3]
        progress.push(*ada)
        assert [job.owner for job in progress.pop(60)] == ["ada", "ada", "bob", "ada", "bob", "ada"]

    def test_drains_at_once_share_the_jobs(self, progress: Progress) -> None:
        jobs = [Waiting("local", f"job{number}", 1) for number in range(40)]
        for job in jobs:
            progress.push(job)
        with ThreadPoolExecutor(4) as pool:
            popped = [job for taken in pool.map(progress.pop, [15] * 4) for job in taken]
        assert sorted(popped, key=str) == sorted(jobs, key=str)

    def test_a_job_pushed_twice_waits_once(self, progress: Progress) -> None:
        progress.push(self.ONE)
        progress.push(self.ONE)
        assert progress.pop(100) == [self.ONE]

    def test_only_the_first_of_many_sends_a_drain(self, progress: Progress) -> None:
        assert [progress.push(job) for job in (self.ONE, self.TWO, self.THREE)] == [True, False, False]

    def test_once_a_drain_has_begun_the_next_job_sends_another(self, progress: Progress) -> None:
        progress.push(self.ONE)
        progress.pop(100)
        assert progress.push(self.TWO)

    def test_a_drain_that_never_began_is_forgotten_after_a_second(self, progress: Progress, redis: Redis) -> None:
        progress.push(self.ONE)
        assert 0 < redis.pttl(progress_module.DRAIN_PENDING) <= 1000

    def test_a_job_is_known_while_it_waits_or_is_leased(self, progress: Progress) -> None:
        assert not progress.is_interactive_known(self.ONE)
        progress.push(self.ONE)
        assert progress.is_interactive_known(self.ONE)
        assert progress.interactive_waits()
        progress.pop(100)
        assert progress.is_interactive_known(self.ONE)
        assert not progress.interactive_waits()
        progress.settle([self.ONE])
        assert not progress.is_interactive_known(self.ONE)

    def test_settling_tells_whoever_waits(self, progress: Progress, heard: Callable[[], str]) -> None:
        progress.settle([self.ONE, self.TWO])
        assert [heard(), heard()] == ["one", "two"]

    def test_while_it_is_leased_nothing_is_recovered(self, progress: Progress) -> None:
        progress.push(self.ONE)
        progress.pop(100)
        assert not progress.recover_interactive()
        assert progress.pop(100) == []

    def test_what_a_silent_worker_had_leased_waits_again_with_its_deaths(
        self, fleeting: Progress, redis: Redis
    ) -> None:
        fleeting.push(self.ONE)
        for deaths in range(3):
            assert [job.deaths for job in fleeting.pop(100)] == [deaths]
            let_pass(redis)
            assert fleeting.recover_interactive()

    def test_what_has_ended_is_not_recovered_and_its_deaths_are_forgotten(
        self, fleeting: Progress, redis: Redis
    ) -> None:
        fleeting.push(self.ONE)
        fleeting.pop(100)
        let_pass(redis)
        fleeting.recover_interactive()
        fleeting.settle(fleeting.pop(100))
        let_pass(redis)
        assert not fleeting.recover_interactive()
        fleeting.push(self.ONE)
        assert fleeting.pop(100) == [self.ONE]

    def test_jobs_that_wait_without_a_drain_get_one(self, progress: Progress, redis: Redis) -> None:
        progress.push(self.ONE)
        assert not progress.recover_interactive()
        redis.delete(progress_module.DRAIN_PENDING)
        assert progress.recover_interactive()
        assert not progress.recover_interactive()

    def test_without_jobs_no_drain_is_needed(self, progress: Progress) -> None:
        assert not progress.recover_interactive()
        assert not progress.interactive_waits()
        assert progress.pop(100) == []


class TestEpoch:
    def test_a_new_server_has_none(self, progress: Progress) -> None:
        assert progress.epoch_missing()

    def test_a_whole_pass_publishes_it(self, progress: Progress, redis: Redis) -> None:
        progress.begin_epoch("first")
        assert progress.epoch_missing()
        assert progress.publish_epoch("first")
        assert not progress.epoch_missing()
        assert redis.get(EPOCH) == "first"

    def test_a_flush_during_the_pass_means_another_pass(self, progress: Progress, redis: Redis) -> None:
        progress.begin_epoch("first")
        redis.flushall()
        assert not progress.publish_epoch("first")
        assert progress.epoch_missing()

    def test_a_pass_that_another_overtook_does_not_publish(self, progress: Progress) -> None:
        progress.begin_epoch("first")
        progress.begin_epoch("second")
        assert not progress.publish_epoch("first")
        assert progress.publish_epoch("second")

    def test_a_flush_takes_it_away(self, progress: Progress, redis: Redis) -> None:
        progress.begin_epoch("first")
        progress.publish_epoch("first")
        redis.flushall()
        assert progress.epoch_missing()


class TestWorkers:
    def test_those_heard_from_are_named_with_their_engines(self, progress: Progress) -> None:
        assert progress.workers() == {}
        progress.heartbeat("host:1", "torch 2.13.0 f32 cpu")
        progress.heartbeat("host:2", "openvino 2026 bf16 cpu")
        progress.heartbeat("host:1", "torch 2.13.0 f32 cpu")
        assert progress.workers() == {"host:1": "torch 2.13.0 f32 cpu", "host:2": "openvino 2026 bf16 cpu"}

    def test_one_that_falls_silent_is_dropped_in_seconds(self, progress: Progress, redis: Redis) -> None:
        progress.heartbeat("host:1", "engine")
        (key,) = redis.scan_iter(match="glyphq:worker:*")
        assert 0 < redis.ttl(key) <= 10
        redis.pexpire(key, 1)
        let_pass(redis)
        assert progress.workers() == {}


def test_after_a_flush_every_question_has_an_answer(progress: Progress, redis: Redis) -> None:
    progress.open("local", "job")
    progress.next_chunks("local", "job", CHUNKS)
    redis.flushall()
    redis.script_flush()
    assert progress.open_jobs() == []
    assert progress.counts("job", 100) is None
    assert progress.lost_chunks("job", QUEUE).chunks == ()
    assert progress.renew("job", 0, "worker")
    finished, following = progress.done("local", "job", 0, CHUNKS, ROWS)
    assert not finished
    assert following == Sending((1, 2, 3, 4), following.sent)
    assert not progress.recover_interactive()


def test_every_key_is_glyphqs_own(progress: Progress, redis: Redis) -> None:
    job = Waiting("local", "job", 1)
    progress.open("local", "job")
    progress.next_chunks("local", "job", CHUNKS)
    progress.claim("job", 0, "worker", 1)
    progress.done("local", "job", 0, CHUNKS, ROWS)
    progress.push(job)
    progress.pop(1)
    progress.heartbeat("host:1", "engine")
    progress.begin_epoch("nonce")
    keys = [str(key) for key in redis.scan_iter()]
    assert len(keys) > 5
    assert all(key.startswith("glyphq:") for key in keys)


class TestAfterTheEnd:
    def test_a_late_result_sends_nothing(self, progress: Progress) -> None:
        progress.next_chunks("local", "job", 10)
        progress.claim("job", 0, "w", 0)
        progress.forget("local", "job")
        assert progress.done("local", "job", 0, 10, Counts(1, classified=1)) == (False, Sending((), ANY))

    def test_nothing_of_a_job_is_kept_for_good(self, progress: Progress, redis: Redis) -> None:
        progress.claim("released", 0, "w", 0)
        progress.release("released", 0, "w")
        progress.claim("renewed", 0, "w", 0)
        redis.flushall()
        progress.renew("renewed", 0, "w")
        progress.forget("local", "forgotten")
        assert [key for key in redis.scan_iter(match="*:job:*") if redis.ttl(key) < 0] == []

    def test_settling_nothing_is_harmless(self, progress: Progress) -> None:
        progress.settle([])
