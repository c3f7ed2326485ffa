"""What is let in: only what is new is judged, and as the operator will judge it."""

from __future__ import annotations

from heed.core.compiler.admission import (
    ADMITTED,
    AdmissionRequest,
    AdmissionVerdict,
    ClusterContext,
    is_unchanged,
    judge,
)
from tests.builders.gateway import event_source_document, subscription_document
from tests.builders.manifests import Manifest, document, policy_manifest
from tests.unit.reviews import allowing, asked_type, emitter, granting, judged


def paths(verdict: AdmissionVerdict) -> list[str]:
    return [item.path for item in verdict.problems]


# --- what is new --------------------------------------------------------------------------------------------


def test_what_stays_as_it_is_passes_however_wrong_it_is() -> None:
    wrong = emitter(when="nothing")

    assert paths(judged(wrong)) == ["spec.handlers[0].when"]
    assert (
        judged(emitter(when="nothing", metadata={"annotations": {"a": "b"}, "finalizers": ["x"]}), wrong)
        == ADMITTED
    )
    assert is_unchanged(AdmissionRequest("Agent", {**wrong, "status": {"totals": {}}}, wrong))


def test_what_is_on_its_way_out_passes() -> None:
    leaving = emitter(when="nothing", metadata={"deletionTimestamp": "2026-11-01T00:00:00Z"})

    assert judged(leaving, emitter()) == ADMITTED


def test_a_new_spec_is_judged_also_where_the_old_one_was_wrong() -> None:
    assert paths(judged(emitter(when="neither"), emitter(when="nothing"))) == ["spec.handlers[0].when"]
    assert judged(emitter(), emitter(when="nothing")).problems == ()


def test_other_labels_are_never_refused() -> None:
    selects = allowing(agentSelector={"matchLabels": {"team": "a"}})

    verdict = judged(emitter(metadata={"labels": {"team": "a"}}), emitter(), policies=[selects])

    assert verdict.problems == ()
    assert "AgentPolicy demo/strict allows no emission of x.done" in verdict.warnings[0]


def test_an_agent_can_be_suspended_and_resumed_whatever_is_wrong_with_the_rest() -> None:
    def wrong(when: str = "nothing", **spec: object) -> Manifest:
        made = emitter(when=when)
        return {**made, "spec": {**made["spec"], **spec}}

    for new, old in ((wrong(suspend=True), wrong()), (wrong(), wrong(suspend=True))):
        verdict = judged(new, old)
        assert verdict.problems == ()
        assert verdict.warnings[0].startswith("spec.handlers[0].when: ")
    assert paths(judged(wrong("neither", suspend=True), wrong())) == ["spec.handlers[0].when"]


# --- by what it is judged -----------------------------------------------------------------------------------


def test_policies_of_other_namespaces_and_for_other_agents_are_nothing_to_it() -> None:
    others = [
        {**allowing(), "metadata": {"name": "strict", "namespace": "other"}},
        allowing(agentSelector={"matchLabels": {"team": "a"}}),
    ]

    assert judged(emitter(), policies=others) == ADMITTED
    assert paths(judged(emitter(), policies=[allowing("x.other")])) == ["spec.handlers[0].emit[0].type"]


def test_a_policy_that_cannot_be_read_allows_nothing_here_either() -> None:
    broken = document("AgentPolicy", {"agentSelector": {}, "emissions": "all"})

    assert paths(judged(emitter(), policies=[broken])) == [
        "spec.subscribe[0].type",
        "spec.handlers[0].emit[0].type",
    ]


def test_a_missing_grant_is_a_warning_and_a_policy_is_not() -> None:
    waiting = judged(emitter(hears="shop"))
    assert waiting.problems == ()
    assert "waits until it is granted: spec.subscribe[0].namespace" in waiting.warnings[0]

    assert judged(emitter(hears="shop"), grants=[granting("x.>")]) == ADMITTED

    both = judged(emitter(hears="shop"), policies=[allowing("x.done", subscriptions=[])])
    assert paths(both) == ["spec.subscribe[0].type"]
    assert "waits until it is granted" in both.warnings[0]


def test_a_policy_names_only_agents_that_it_newly_stops() -> None:
    agents = [emitter("a"), emitter("b", emits="x.other"), emitter("invalid", when="nothing")]

    verdict = judged(allowing("x.done"), agents=agents)
    assert [item.partition(":")[0] for item in verdict.warnings] == ["stops Agent demo/b"]

    # one that was stopped already is no news, and neither is one that another policy lets run
    assert (
        judged(allowing("x.done"), allowing("x.none"), agents=agents, policies=[allowing("x.none")])
        == ADMITTED
    )
    generous = allowing("x.>", name="generous")
    assert judged(allowing("x.done"), agents=agents, policies=[generous]) == ADMITTED


def test_a_narrower_grant_names_the_agents_that_it_stops() -> None:
    agents = [emitter(hears="shop")]

    verdict = judged(granting("x.sold"), granting("x.>"), grants=[granting("x.>")], agents=agents)

    assert "stops Agent demo/it: spec.subscribe[0].namespace" in verdict.warnings[0]
    assert judged(granting("x.asked"), granting("x.>"), grants=[granting("x.>")], agents=agents) == ADMITTED


def test_many_are_counted_and_a_look_that_was_cut_short_says_so() -> None:
    agents = [emitter(f"a{number}") for number in range(9)]
    request = AdmissionRequest("AgentPolicy", allowing())

    assert judge(request, ClusterContext(agents=agents)).warnings[-1] == "stops 4 more Agents"

    steps = iter([True, True, False])
    cut = judge(request, ClusterContext(agents=agents), lambda: next(steps)).warnings
    assert [item.partition(":")[0] for item in cut[:2]] == ["stops Agent demo/a0", "stops Agent demo/a1"]
    assert "more Agents than were looked at" in cut[2]
    assert "more Agents than were looked at" in judge(request, ClusterContext(complete=False)).warnings[0]


# --- types --------------------------------------------------------------------------------------------------


def test_a_schema_and_its_examples_are_judged() -> None:
    schema = {"type": "object", "properties": {"topic": {"type": "string"}}}

    assert judged(asked_type(schema, {"topic": "tides"}, {})) == ADMITTED
    assert paths(judged(asked_type(schema, {}, {"topic": 7}, []))) == ["spec.examples[1]", "spec.examples[2]"]
    assert paths(judged(asked_type({"type": "objekt"}, {"topic": 7})))[0].startswith("spec.schema")


def test_the_older_of_two_types_counts() -> None:
    older = asked_type({}, name="z", created="2026-01-01T00:00:00Z")
    younger = asked_type({}, name="a", created="2026-02-01T00:00:00Z")
    both = [older, younger]

    def edited(item: Manifest) -> Manifest:
        return {**item, "spec": {**item["spec"], "schema": {"type": "object"}}}

    assert judged(asked_type({}), types=[older]).warnings == (
        "has no effect: EventType demo/z, which is older, describes x.asked already",
    )
    assert judged(edited(younger), younger, types=both).warnings[0].startswith("has no effect")
    assert judged(edited(older), older, types=both).warnings == (
        "takes effect instead of EventType demo/a, which is younger",
    )


def test_what_is_not_ours_is_fine() -> None:
    assert judged(document("Other", {})) == ADMITTED


# --- the gateway's resources ----------------------------------------------------------------------------------------


def test_event_sources_and_subscriptions_are_judged_as_the_gateway_does() -> None:
    wrong = event_source_document(when="heders.x == 'a'")

    assert paths(judged(wrong)) == ["spec.when"]
    assert judged(wrong, wrong) == ADMITTED
    assert judged(event_source_document()) == ADMITTED
    assert paths(judged(subscription_document(where="evnt.id == 'a'"))) == ["spec.where"]


def test_event_sources_and_subscriptions_meet_the_policies_of_their_namespace() -> None:
    strict = policy_manifest(namespace="default", eventSources=[], deliveries=[])
    elsewhere = policy_manifest(namespace="other", eventSources=[], deliveries=[])

    for document_, path in (
        (event_source_document(), "spec.event.type"),
        (subscription_document(), "spec.types[0]"),
    ):
        assert paths(judged(document_, policies=[strict])) == [path]
        assert judged(document_, policies=[elsewhere]) == ADMITTED


def test_a_sink_may_be_in_a_network_that_the_gateway_is_told_to_let_through() -> None:
    assert judged(subscription_document(url="http://169.254.7.1/")) == ADMITTED
    assert paths(judged(subscription_document(url="http://sink:0/"))) == ["spec.sink.url"]
