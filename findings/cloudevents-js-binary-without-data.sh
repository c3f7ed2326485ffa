#!/usr/bin/env bash
# The JavaScript SDK of CloudEvents sends an event without data over HTTP, as its README does it: emitterFor(httpTransport(url)).
# Guess: data are optional in a CloudEvent, so in binary mode, the SDK's default, the request has its headers and no body.
# Really, cloudevents 10.0.0: the emitter rejects with ERR_INVALID_ARG_TYPE (the body that Node is given is `undefined`);
# the same event goes out in structured mode, and in binary mode once it has data.
# What it means: give every event data, if only {}; or send in structured mode; or send the message of HTTP.binary(event)
# with fetch, which takes a body that is not there.
# Source: CloudEvents 1.0.2, "data: presence: OPTIONAL"; HTTP binding 1.0.2, section 3.1.
# Exits with 0 as long as this is so. Needs Node 20 and npm.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund cloudevents@10.0.0 > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }

cat > look.mjs <<'JS'
import http from "node:http";
import { CloudEvent, emitterFor, HTTP, httpTransport, Mode } from "cloudevents";

const bodies = {};
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    bodies[request.headers["ce-id"] ?? JSON.parse(body).id] = body;
    response.writeHead(202).end();
  });
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${server.address().port}/`;

const event = (id, data) => new CloudEvent({ id, source: "/till", type: "com.example.closed", data });
async function emitted(mode, made) {
  try {
    await emitterFor(httpTransport(url), { mode })(made);
    return "sent";
  } catch (error) {
    return `rejected: ${error.code}`;
  }
}

const { headers, body } = HTTP.binary(event("d"));
const seen = {
  "binary, data": await emitted(Mode.BINARY, event("a", { till: 1 })),
  "binary, no data": await emitted(Mode.BINARY, event("b")),
  "structured, no data": await emitted(Mode.STRUCTURED, event("c")),
  "binary, no data, fetch": String((await fetch(url, { method: "POST", headers, body })).status),
};
const expected = {
  "binary, data": "sent",
  "binary, no data": "rejected: ERR_INVALID_ARG_TYPE",
  "structured, no data": "sent",
  "binary, no data, fetch": "202",
};
for (const [what, answer] of Object.entries(seen)) console.log(`  ${what.padEnd(24)} ${answer}`);
console.log("stored:", Object.keys(bodies).sort().join(" "));
const changed = Object.keys(expected).filter((what) => seen[what] !== expected[what]);
if (Object.keys(bodies).sort().join(" ") !== "a c d") changed.push("stored");
console.log("changed:", changed.join(", ") || "nothing");
process.exit(changed.length ? 1 : 0);
JS
node look.mjs
