// Sends events over HTTP with the JavaScript SDK of CloudEvents, by its own transport.
//
// Usage: node http-sender.js URL MODE < events.json
// MODE is binary or structured. Writes a line for each event that could not be sent: its id, and why.
const { readFileSync } = require("node:fs");
const { emitterFor, httpTransport, Mode } = require("cloudevents");
const { built } = require("./events.js");

async function main() {
  const [url, mode] = process.argv.slice(2);
  const emit = emitterFor(httpTransport(url), { mode: mode === "binary" ? Mode.BINARY : Mode.STRUCTURED });
  for (const item of JSON.parse(readFileSync(0, "utf8"))) {
    try {
      await emit(built(item));
    } catch (error) {
      console.log(`${item.id} ${error.message}`);
    }
  }
  process.exit(); // a request whose body could not be written is never ended
}

main();
