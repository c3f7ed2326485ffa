"""What a consumer left out: others' messages, or ours that the stream dropped unread."""

from heed.bus.consumer.gaps import GapDetector


def gaps(*arrivals: tuple[int, int], floor: int = 0, pending: int = 0, attended: bool = True) -> GapDetector:
    """After arrivals of (sequence, pending)."""
    result = GapDetector(floor, pending)
    for sequence, left in arrivals:
        result.note_arrival(sequence, left, attended=attended)
    return result


def test_what_comes_without_a_jump_is_sure() -> None:
    assert gaps((1, 2), (2, 1), (3, 0), pending=3).certain_count == 3


def test_a_jump_of_a_reader_that_was_up_to_date_is_others() -> None:
    assert gaps((5, 0), (900, 0), (2_000_000, 0)).certain_count == 3


def test_a_jump_while_more_was_to_come_is_in_doubt_until_the_stream_was_asked() -> None:
    lagging = gaps((1, 2), (7, 1), (9, 0), pending=3)
    assert lagging.certain_count == 1

    assert lagging.resolve(2, first=1) is None
    assert lagging.certain_count == 2, "what came after the question is in doubt still"
    assert lagging.resolve(3, first=8) is None
    assert lagging.certain_count == 3


def test_a_stream_that_begins_after_the_last_one_read_has_dropped_something() -> None:
    lagging = gaps((1, 2), (7, 1), pending=3)

    loss = lagging.resolve(2, first=3)

    assert (
        loss is not None
        and "dropped messages before they were read: it begins with 3, 1 was the last" in loss.reason
    )
    assert lagging.certain_count == 1


def test_a_stream_that_begins_right_after_the_last_one_read_has_dropped_nothing() -> None:
    assert gaps((1, 2), (7, 1), pending=3).resolve(2, first=2) is None


def test_fewer_to_come_than_were_delivered_is_a_loss_wherever_the_stream_begins() -> None:
    shrunk = gaps((1, 9), (2, 5), pending=10)
    assert shrunk.certain_count == 1

    loss = shrunk.resolve(2, first=1)
    assert loss is not None
    assert (loss.reason, loss.gone) == ("after 1 the stream dropped 3 messages before they were read", 3)


def test_new_messages_meanwhile_are_no_loss() -> None:
    assert gaps((1, 9), (2, 20), (3, 19), pending=10).certain_count == 3


def test_the_first_message_is_measured_by_what_the_consumer_began_with() -> None:
    assert gaps((8, 1), floor=5, pending=2).certain_count == 0
    assert gaps((8, 0), floor=5, pending=0).certain_count == 1


def test_who_did_not_ask_for_a_while_cannot_say_whose_the_jump_was() -> None:
    assert gaps((8, 0), floor=5, attended=False).certain_count == 0
    assert gaps((6, 0), floor=5, attended=False).certain_count == 1
