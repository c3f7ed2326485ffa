// A worker in TypeScript: the code of the Agent in agent.yaml.
import { readFileSync } from "node:fs";
import { connect, credsAuthenticator } from "@nats-io/transport-node";
import { answerRequests, takeWork, type Code } from "./protocol.js";

const code: Code = {
  namespace: process.env.HEED_NAMESPACE ?? "default",
  agent: "greeter",
  digest: "0123456789abcdef", // spec.worker.digest; a build would compute it

  handlers: {
    greet({ event }, state) {
      const { name } = event.data as { name: string };
      const times = Number(state.times ?? 0) + 1;
      return { state: { ...state, times }, start: [{ task: "compose", input: { name, times } }] };
    },
    regret({ event }, state) {
      const { message } = event.data as { message?: string };
      return { state, emit: [{ type: "com.example.greeting.failed", data: { why: message ?? "unknown" } }] };
    },
    send({ event }, state) {
      const { result } = event.data as { result: string };
      return { state, emit: [{ type: "com.example.greeting.sent", data: { text: result } }] };
    },
  },

  functions: {
    async compose(input, progress) {
      const { name, times } = input as { name: string; times: number };
      progress({ composing: name });
      return times === 1 ? `Hello, ${name}!` : `Hello again, ${name}!`;
    },
  },
};

const credentials = process.env.HEED_NATS_CREDENTIALS;
const connection = await connect({
  servers: process.env.HEED_NATS_URL ?? "nats://127.0.0.1:4222",
  name: code.agent,
  inboxPrefix: `_INBOX.heed-worker.${code.namespace}.${code.agent}`,
  // Read for each connection, as the file is renewed before its credentials expire.
  authenticator: credentials === undefined ? undefined : credsAuthenticator(() => readFileSync(credentials)),
  ignoreAuthErrorAbort: true,
  maxReconnectAttempts: -1,
});
const stopping = new AbortController();
process.on("SIGTERM", () => stopping.abort());
answerRequests(connection, code);
console.log(`worker of ${code.agent} ready`);
await takeWork(connection, code, stopping.signal);
await connection.drain();
