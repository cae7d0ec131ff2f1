"""What a worker process tells of itself while a batch is under way."""

from glyphq.jobs import Lane
from glyphq.metrics import REGISTRY
from worker.metrics import Stages


def busy() -> tuple[float, ...]:
    return tuple(REGISTRY.get_sample_value("glyphq_busy_processes", {"lane": lane}) or 0 for lane in Lane)


def test_a_process_is_busy_in_one_lane_at_a_time_and_told_so_before_the_batch_is_through() -> None:
    assert busy() == (0, 0)
    chunk = Stages(Lane.BULK)
    with chunk.timed("decode"), chunk.timed("read"):
        [during] = [lane for lane, count in zip(Lane, busy(), strict=True) if count]
        assert during is Lane.BULK
        with chunk.interrupted(), Stages(Lane.INTERACTIVE).timed("claim"):
            [during] = [lane for lane, count in zip(Lane, busy(), strict=True) if count]
            assert during is Lane.INTERACTIVE
        assert sum(busy()) == 1
    assert busy() == (0, 0)
