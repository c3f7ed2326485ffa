"""The ApprovalAnswers that there are, by what they are looked up by.

Who may create answers may create thousands: none is searched for among all, and those of one user do not keep those of
others waiting.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from heed.api.conditions import find_condition
from heed.kube.status.accepted import ACCEPTED

Body = Mapping[str, Any]
Key = tuple[str, str]  # namespace and name
AgentKey = tuple[str, str]  # namespace and name


class AnswerIndex:
    """Answers as last seen. Open ones are not judged yet; each has the number of its arrival."""

    def __init__(self) -> None:
        self.known: dict[Key, Body] = {}
        self.open: dict[Key, Body] = {}
        self.arrivals = 0
        self._arrival: dict[Key, int] = {}
        self._open_to: defaultdict[AgentKey, dict[Key, None]] = defaultdict(dict)
        self._accepted: dict[tuple[str, str, str], Key] = {}  # by namespace, Agent and task

    def observe(self, body: Body, deleted: bool) -> bool:
        """Note an answer as it is, or was when it was deleted. Returns whether it is open."""
        key = key_of(body)
        self.close(key)
        if deleted:
            self.known.pop(key, None)
            if self._accepted.get(_task_of(body)) == key:
                del self._accepted[_task_of(body)]
            return False
        self.known[key] = body
        if is_judged(body):
            if accepted_condition(body)["status"] == "True":
                self._accepted[_task_of(body)] = key
            return False
        self.arrivals += 1
        self.open[key], self._arrival[key] = body, self.arrivals
        self._open_to[_agent_of(body)][key] = None
        return True

    def close(self, key: Key) -> None:
        """An answer is judged, or about to be seen as it is now."""
        if (body := self.open.pop(key, None)) is None:
            return
        del self._arrival[key]
        agent = _agent_of(body)
        del self._open_to[agent][key]
        if not self._open_to[agent]:
            del self._open_to[agent]

    def arrival(self, key: Key) -> int:
        """When an open answer came, as a number that grows."""
        return self._arrival[key]

    def list_open(self, namespace: str, agent: str) -> list[Key]:
        """The open answers to an Agent."""
        return list(self._open_to.get((namespace, agent), ()))

    def find_accepted(self, namespace: str, agent: str, task: str) -> Body | None:
        """The answer that ended a task, where it is still there."""
        key = self._accepted.get((namespace, agent, task))
        return None if key is None else self.known[key]

    def take_turns(self, keys: Iterable[Key], most: int) -> Iterator[Key]:
        """So many of some answers at most: one of each user in each namespace, then a second one of each, and so on."""
        waiting: defaultdict[tuple[str, str], deque[Key]] = defaultdict(deque)
        for key in keys:
            waiting[key[0], _user_of(self.open.get(key))].append(key)
        turns = deque(waiting.values())
        for _ in range(most):
            if not turns:
                return
            of_one = turns.popleft()
            yield of_one.popleft()
            if of_one:
                turns.append(of_one)


def key_of(body: Body) -> Key:
    """Namespace and name."""
    metadata = body["metadata"]
    return metadata["namespace"], metadata["name"]


def accepted_condition(body: Body) -> Mapping[str, Any]:
    """The condition Accepted; empty where there is none."""
    return find_condition((body.get("status") or {}).get("conditions") or (), ACCEPTED) or {}


def is_judged(body: Body) -> bool:
    """Whether it is known what became of an answer."""
    return accepted_condition(body).get("status") in ("True", "False")


def _agent_of(body: Body) -> AgentKey:
    return body["metadata"]["namespace"], body["spec"]["agent"]


def _task_of(body: Body) -> tuple[str, str, str]:
    return (*_agent_of(body), body["spec"]["task"])


def _user_of(body: Body | None) -> str:
    return "" if body is None else str(body["spec"].get("user", ""))
