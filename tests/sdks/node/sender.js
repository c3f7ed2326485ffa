// Publishes events with the JavaScript SDK of CloudEvents, which has an HTTP binding and none for NATS: its headers and
// body are put on a NATS message as they are.
//
// Usage: node sender.js URL MODE < events.json
// MODE is binary or structured; each event goes out on the subject that it names.
const { readFileSync } = require("node:fs");
const { HTTP } = require("cloudevents");
const { connect, headers } = require("nats");
const { built } = require("./events.js");

async function main() {
  const [url, mode] = process.argv.slice(2);
  const connection = await connect({ servers: url });
  const jetstream = connection.jetstream();
  for (const item of JSON.parse(readFileSync(0, "utf8"))) {
    const message = HTTP[mode](built(item));
    const written = headers();
    for (const [name, value] of Object.entries(message.headers)) {
      written.set(name, String(value));
    }
    await jetstream.publish(item.on, message.body, { headers: written });
  }
  await connection.close();
}

main();
