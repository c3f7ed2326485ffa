"""How a run is spread over processes."""

from tests.scheduling import choose, unit_of

STORM, NODE, READER, NAMES = (
    "tests/faults/test_storm.py::test_nothing_is_lost",
    "tests/cluster/test_operator.py",
    "tests/integration/test_reader.py",
    "tests/unit/test_names.py",
)


def test_a_file_is_one_unit() -> None:
    assert unit_of(f"{NAMES}::test_a[b::c]") == unit_of(f"{NAMES}::test_d") == NAMES


def test_long_tests_that_share_nothing_are_units_of_their_own() -> None:
    assert unit_of(STORM) == STORM


def test_what_takes_longest_comes_first() -> None:
    assert choose([NAMES, READER, NODE, STORM], has_one=False, elsewhere=0) == STORM
    assert choose([NAMES, READER, NODE], has_one=False, elsewhere=0) == NODE
    assert choose([NAMES, READER], has_one=False, elsewhere=0) == READER


def test_a_control_plane_is_used_while_something_needs_it() -> None:
    assert choose([NAMES, STORM, NODE], has_one=True, elsewhere=1) == NODE
    assert choose([NAMES, STORM], has_one=True, elsewhere=1) == STORM


def test_few_control_planes_are_started() -> None:
    assert choose([NODE, NAMES], has_one=False, elsewhere=1) == NODE
    assert choose([NODE, NAMES], has_one=False, elsewhere=2) == NAMES


def test_no_process_idles_to_save_a_control_plane() -> None:
    assert choose([NODE], has_one=False, elsewhere=2) == NODE
