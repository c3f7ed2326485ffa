"""Writes a long report, says how far it is, and publishes what is too large for a termination message."""

import asyncio
import json
import os
from typing import Any

import nats

LINES, STEPS = 2000, 4


async def main(topic: str) -> None:
    """Write a report about a topic, say after each part how far it is, and publish it at last."""
    broker = await nats.connect(
        os.environ["HEED_NATS_URL"],
        user_credentials=os.environ.get("HEED_NATS_CREDENTIALS"),  # there only where the broker asks for them
        inbox_prefix=os.environ["HEED_INBOX_PREFIX"],
    )

    async def say(subject: str, type_: str, id_: str, data: Any) -> None:
        source = os.environ["HEED_TASK_ID"]
        event = {"specversion": "1.0", "id": id_, "source": source, "type": type_, "data": data}
        # Returns once it is stored, so what comes later is decided later.
        await broker.jetstream().publish(
            subject, json.dumps(event).encode(), headers={"Content-Type": "application/cloudevents+json"}
        )

    lines = []
    for step in range(1, STEPS + 1):
        lines += [f"{len(lines) + number + 1}: all about {topic}" for number in range(LINES // STEPS)]
        percent = 100 * step // STEPS
        print(f"{percent} % of the report about {topic}", flush=True)
        await say(
            os.environ["HEED_PROGRESS_SUBJECT"],
            "dev.heed.task.progress",
            f"step-{step}",
            {"percent": percent},
        )
        await asyncio.sleep(0.2)
    await say(os.environ["HEED_RESULT_SUBJECT"], "dev.heed.task.result", "report", {"lines": lines})
    await broker.close()


with open(os.environ["HEED_TASK_FILE"]) as file:
    asyncio.run(main(json.load(file)["input"]["topic"]))
