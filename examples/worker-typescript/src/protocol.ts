// The worker protocol of Heed: decide requests and work items. docs/worker-protocol.md says what each member is.
import { headers, type Msg, type NatsConnection } from "@nats-io/transport-node";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type State = { [name: string]: Json };

export interface CloudEvent {
  id: string;
  source: string;
  type: string;
  correlationid: string;
  data?: Json;
}

export interface Variables {
  event: CloudEvent;
  session: { key: string; startedAt: string };
  agent: { name: string; namespace: string };
  task: { id?: string; name?: string };
  input: Json;
}

export interface Answer {
  state?: State;
  start?: { task: string; input?: Json; priority?: number }[];
  emit?: { type: string; data?: Json; subject?: string; to?: string }[];
  cancel?: string[];
  end?: boolean;
  hold?: { seconds: number; handled?: boolean };
  failed?: { code: string; message: string };
}

export type Handler = (variables: Variables, state: State) => Answer;
export type Work = (input: Json, progress: (data: Json) => void, cancelled: AbortSignal) => Promise<Json>;

export interface Code {
  namespace: string;
  agent: string;
  digest: string;
  handlers: { [name: string]: Handler };
  functions: { [name: string]: Work };
}

interface Call {
  function: string;
  variables: Variables;
  state: State;
}

interface Item {
  attempt: string;
  function: string;
  input: Json;
  timeout: number | null;
}

/** Answer decide requests until the connection is drained. */
export function answerRequests(connection: NatsConnection, code: Code): void {
  connection.subscribe(`heed-decide.${code.namespace}.${code.agent}.${code.digest}`, {
    queue: "decide",
    callback: (error, message) => {
      if (error === null) message.respond(JSON.stringify(answer(code, readCalls(message))));
    },
  });
}

/** The calls of a request; anything may arrive where it is expected, such as a reply of the broker. */
function readCalls(message: Msg): Call[] | undefined {
  try {
    return message.json<{ calls: Call[] }>().calls;
  } catch {
    return undefined;
  }
}

/** The reply to the calls of one session, each with the state that the one before left. */
export function answer(code: Code, calls: Call[] | undefined): { answers: Answer[] } | { unavailable: string } {
  if (!Array.isArray(calls)) return { unavailable: "the request is no decide request" };
  const answers: Answer[] = [];
  let state = calls[0]?.state ?? {};
  for (const call of calls) {
    const handler = code.handlers[call.function];
    if (handler === undefined) return answers.length ? { answers } : { unavailable: `no function ${call.function}` };
    try {
      const made = handler(call.variables, state);
      answers.push(made);
      if (made.hold === undefined) state = made.end ? {} : (made.state ?? state);
    } catch (error) {
      answers.push({ failed: { code: "HandlerFailed", message: String(error) } });
      break;
    }
  }
  return { answers };
}

const NEXT = JSON.stringify({ batch: 1, expires: 2_000_000_000 }); // nanoseconds until it says that there is none

/** Take function tasks, one after the other, until `stopping`; the one that was taken is finished. */
export async function takeWork(connection: NatsConnection, code: Code, stopping: AbortSignal): Promise<void> {
  const queue = `$JS.API.CONSUMER.MSG.NEXT.HEED_WORK.${code.namespace}_${code.agent}`;
  const running = new Map<string, AbortController>();
  hearCancellations(connection, code, running);
  while (!stopping.aborted && !connection.isClosed()) {
    try {
      // An item comes under its own subject, by which the replies of shared subscriptions could not be told apart.
      const reply = await connection.request(queue, NEXT, { timeout: 5_000, noMux: true });
      if (reply.reply?.startsWith("$JS.ACK.")) await work(connection, code, reply, running); // else there is none
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 500)); // no task of the Agent has started yet
    }
  }
}

function hearCancellations(connection: NatsConnection, code: Code, running: Map<string, AbortController>): void {
  connection.subscribe(`heed-stop.${code.namespace}.${code.agent}.*`, {
    callback: (error, message) => {
      if (error === null) running.get(readCancelled(message) ?? "")?.abort();
    },
  });
}

function readCancelled(message: Msg): string | undefined {
  try {
    return message.json<{ cancelled?: string }>().cancelled;
  } catch {
    return undefined;
  }
}

async function work(
  connection: NatsConnection,
  code: Code,
  message: Msg,
  running: Map<string, AbortController>,
): Promise<void> {
  const item = message.json<Item>();
  const cancelled = new AbortController();
  const beating = setInterval(() => message.respond("+WPI"), 10_000);
  running.set(item.attempt, cancelled);
  try {
    const end = await run(connection, code, item, cancelled.signal);
    if (!cancelled.signal.aborted) await say(connection, code, item.attempt, "dev.heed.task.done", end);
    message.respond("+ACK");
  } finally {
    running.delete(item.attempt);
    clearInterval(beating);
  }
}

async function run(connection: NatsConnection, code: Code, item: Item, cancelled: AbortSignal): Promise<Json> {
  const progress = (data: Json) =>
    void say(connection, code, item.attempt, "dev.heed.task.progress", data).catch(() => undefined);
  try {
    const work = code.functions[item.function];
    if (work === undefined) throw new Error(`no function ${item.function}`);
    return { completed: true, result: await within(item.timeout, work(item.input, progress, cancelled)) };
  } catch (error) {
    return { completed: false, reason: "Error", message: String(error) };
  }
}

async function within<T>(seconds: number | null, work: Promise<T>): Promise<T> {
  if (seconds === null) return work;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

async function say(connection: NatsConnection, code: Code, attempt: string, type: string, data: Json): Promise<void> {
  const attributes = headers();
  attributes.set("ce-specversion", "1.0");
  attributes.set("ce-id", type.endsWith("done") ? `${attempt}-done` : crypto.randomUUID());
  attributes.set("ce-source", `/apis/heed.dev/v1alpha1/namespaces/${code.namespace}/agents/${code.agent}`);
  attributes.set("ce-type", type);
  attributes.set("ce-time", new Date().toISOString());
  attributes.set("content-type", "application/json");
  const subject = `heed.tasks.${code.namespace}.${code.agent}.${attempt}.${type}`;
  const stored = await connection.request(subject, JSON.stringify(data), { headers: attributes, timeout: 5_000 });
  const { error } = stored.json<{ error?: { description: string } }>();
  if (error !== undefined) throw new Error(error.description);
}
