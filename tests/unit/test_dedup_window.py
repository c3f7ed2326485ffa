"""The dedup window: the last 500 digests, exactly, however it came to hold them."""

import pytest

from heed.core.ledger.dedup_window import DedupWindow

LAST = 500
SEEN = [f"digest-{number}" for number in range(2 * LAST + 200)]


def grown(digests: list[str], window: DedupWindow | None = None) -> DedupWindow:
    window = window or DedupWindow()
    for digest in digests:
        window = window.with_digest(digest)
    return window


@pytest.mark.parametrize(
    "count", [1, LAST - 1, LAST, LAST + 1, LAST + 63, LAST + 64, LAST + 65, 2 * LAST + 1]
)
@pytest.mark.parametrize("loaded", [0, 1, LAST - 1, LAST, LAST + 200])
def test_it_holds_the_last_500_and_no_more(loaded: int, count: int) -> None:
    window = grown(SEEN[loaded:count], DedupWindow.of(SEEN[: min(loaded, count)]))

    last = SEEN[:count][-LAST:]
    assert window.digests() == last
    assert len(window) == len(last)
    assert [digest for digest in SEEN if digest in window] == last


def test_every_step_of_it_is_exact() -> None:
    window = DedupWindow.of(SEEN[:LAST])

    for count in range(LAST + 1, LAST + 140):
        window = window.with_digest(SEEN[count - 1])
        assert SEEN[count - 1] in window
        assert SEEN[count - LAST] in window
        assert SEEN[count - LAST - 1] not in window
        assert "never seen" not in window


def test_one_more_leaves_the_window_before_it_as_it_was() -> None:
    before = grown(SEEN[: LAST + 10])

    after, same = before.with_digest("new"), before.with_digest(None)

    assert "new" in after and "new" not in before
    assert same is before
    assert before.digests() == SEEN[10 : LAST + 10]


def test_a_window_is_equal_to_one_that_came_to_hold_the_same_in_another_way() -> None:
    assert grown(SEEN[:LAST]) == DedupWindow.of(SEEN[:LAST])
    assert grown(SEEN[:3]) != DedupWindow.of([SEEN[1], SEEN[0], SEEN[2]])
