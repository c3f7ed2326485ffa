"""Arguments of `format` that may be written otherwise than they are, one for each clause and each type."""

import pytest

from heed.core.cel.expression import compile_expression
from heed.core.cel.variables import ALL_VARIABLES
from heed.core.compiler.expression_sites import ExpressionSite
from heed.core.compiler.format_precision import find_imprecise_formats


def found(source: str) -> list[tuple[str, int]]:
    """The clauses that round, and the places of their arguments, checked with the words that go with them."""
    result = []
    for problem in find_imprecise_formats(
        ExpressionSite("spec.x", compile_expression(source), ALL_VARIABLES)
    ):
        clause, number = problem.message[:2], int(problem.message.split("argument ")[1].split()[0])
        how = {"%s": "keeps six digits of a double", "%d": "writes a double such as 2.0 as 2.000000"}[clause]
        remedy = {"%s": "write string(…) around it, or ${…} in the text", "%d": "write int(…) around it"}[
            clause
        ]
        assert problem.path == "spec.x"
        assert problem.message == f"{clause} of format {how}, and argument {number} may be one"
        assert problem.remedy == remedy
        result.append((clause, number))
    return result


@pytest.mark.parametrize(
    "item",
    [
        *("1", "2u", "'x'", "b'a'", "null", "true", "type(1)", "int(event.n)", "string(event.n)"),
        *("timestamp(event.time)", "duration('1s')", "event.id + 'x'", "size(event.data)"),
        *("event.id", "event.source", "event.type", "event.specversion", "event.correlationid"),
        *("event.subject", "event.time", "event.datacontenttype", "agent.name", "agent.namespace"),
        *("session.key", "session.startedAt", "task.id", "task.name", "task.kind", "task.startedAt"),
    ],
)
def test_a_text_and_what_is_no_double_is_exact(item: str) -> None:
    assert found(f"'%s'.format([{item}])") == []


@pytest.mark.parametrize(
    "item",
    [
        *(
            "1.5",
            "event.n",
            "event.data",
            "event.data.id",
            "event.idx",
            "state.id",
            "agent.labels",
            "input.id",
        ),
        *("dyn(1)", "[1]", "{'a': 1}", "event.list[0]", "event.a + event.b", "event", "state.name"),
        *("(event.x ? event.id : 1.5)", "double(event.id)"),
    ],
)
def test_what_may_be_a_double_or_hold_one_is_not(item: str) -> None:
    assert found(f"'%s'.format([{item}])") == [("%s", 1)]


@pytest.mark.parametrize("item", ["1", "1u", "int(event.n)", "size(event.data)"])
def test_a_whole_number_is_exact_as_one(item: str) -> None:
    assert found(f"'%d'.format([{item}])") == []


@pytest.mark.parametrize("item", ["1.5", "event.n", "event.id", "'x'", "1 > 2", "dyn(1)"])
def test_what_may_be_no_whole_number_is_not(item: str) -> None:
    assert found(f"'%d'.format([{item}])") == [("%d", 1)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'%s %d'.format([event.x, event.y])", [("%s", 1), ("%d", 2)]),
        ("'%d %s'.format([1, event.y])", [("%s", 2)]),
        ("'%%%d %%s %s'.format([1, event.y])", [("%s", 2)]),
        ("'%%d'.format([])", []),
        ("'%.3f %s'.format([event.x, event.y])", [("%s", 2)]),
        ("'%.12f %e %x %b %o %X'.format([event.x, event.x, event.x, event.x, event.x, event.x])", []),
        # an argument without a clause, and those of a text that is not known, count as %s
        ("'%d'.format([1, event.y])", [("%s", 2)]),
        ("event.f.format([1, event.y])", [("%s", 2)]),
        ("event.f.format([event.id])", []),
        # what is no literal list cannot be told
        ("'%s'.format(event.list)", []),
        # wherever it stands
        ("'a' + '%s'.format([event.x])", [("%s", 1)]),
        ("event.list.map(i, '%d'.format([i]))", [("%d", 1)]),
        ("'%s'.format(['%d'.format([event.x])])", [("%d", 1)]),
        ("{'a': ['%s'.format([event.x])]}", [("%s", 1)]),
        ("event.x", []),
        ("event.list.join('%s')", []),
    ],
)
def test_each_argument_has_its_clause(source: str, expected: list[tuple[str, int]]) -> None:
    assert found(source) == expected
