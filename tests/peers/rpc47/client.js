// The Node client: makes the calls of a list with @grpc/grpc-js and @grpc/proto-loader and writes down everything that a
// caller can see. `node client.js CALLS.json RECORDS.json`; run.py starts it. client.py is its twin.
"use strict";

const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const LOADING = { keepCase: true, longs: String, bytes: String };
const OPTIONS = { "grpc.max_receive_message_length": -1, "grpc.enable_retries": 0 };

// protobufjs bundles google.protobuf.Value with names of its own, whatever keepCase says.
const VALUE = {
  null_value: "nullValue",
  number_value: "numberValue",
  string_value: "stringValue",
  bool_value: "boolValue",
  struct_value: "structValue",
  list_value: "listValue",
};

async function main(callsFile, recordsFile) {
  const plan = JSON.parse(fs.readFileSync(callsFile));
  const definition = protoLoader.loadSync(plan.files, { ...LOADING, includeDirs: [plan.protos] });
  const clients = Object.fromEntries(
    Object.entries(plan.targets).map(([name, address]) => [
      name,
      new grpc.Client(address, grpc.credentials.createInsecure(), OPTIONS),
    ]),
  );
  const answers = {};
  const records = [];
  for (const call of plan.calls) {
    const [service, method] = call.rpc.split("/");
    const request = resolve(call.request, answers);
    const missing = unanswered(request);
    const rpc = definition[service][method];
    const record = missing
      ? notMade(missing)
      : await make(clients[call.target], rpc, request, call.metadata, plan.timeout);
    answers[call.id] = record.messages;
    records.push({ ...record, id: call.id });
  }
  Object.values(clients).forEach((client) => client.close());
  fs.writeFileSync(recordsFile, JSON.stringify(records));
}

function notMade(missing) {
  return { messages: [], sizes: [], code: -1, message: `not called: nothing at ${missing}`, initial: [], trailing: [] };
}

function make(client, rpc, request, sent, timeout) {
  const record = { messages: [], sizes: [], initial: [] };
  const parse = (data) => {
    record.sizes.push(data.length);
    return rpc.responseDeserialize(data);
  };
  const deadline = new Date(Date.now() + timeout * 1000);
  return new Promise((resolve) => {
    const ended = ({ code, details, metadata: trailing }) =>
      resolve({ ...record, code, message: details, trailing: pairs(trailing) });
    const common = [rpc.path, rpc.requestSerialize, parse, request, metadata(sent), { deadline }];
    let call;
    if (rpc.responseStream) {
      call = client.makeServerStreamRequest(...common);
      call.on("data", (message) => record.messages.push(message));
      // Without a listener an error ends the process; `status` brings the same.
      call.on("error", () => {});
    } else {
      call = client.makeUnaryRequest(...common, (_error, message) => message && record.messages.push(message));
    }
    call.on("metadata", (received) => (record.initial = pairs(received)));
    // The answer's callback and `data` may come after `status`: give them the turn that they are queued for.
    call.on("status", (status) => setImmediate(ended, status));
  });
}

function metadata(entries) {
  const made = new grpc.Metadata();
  for (const [name, value] of entries) made.add(name, name.endsWith("-bin") ? Buffer.from(value, "hex") : value);
  return made;
}

function pairs(received) {
  const text = (value) => (Buffer.isBuffer(value) ? value.toString("hex") : value);
  return Object.keys(received.getMap()).flatMap((name) => received.get(name).map((value) => [name, text(value)]));
}

// Replaces each {"$from": "call/path/to/0/field"} by what that call answered; its last message where there are several.
function resolve(value, answers) {
  if (Array.isArray(value)) return value.map((v) => resolve(v, answers));
  if (value === null || typeof value !== "object") return value;
  if ("$from" in value) {
    const [call, ...path] = value.$from.split("/");
    const found = path.reduce((at, step) => at?.[step], answers[call].at(-1));
    return found === undefined ? new Unanswered(value.$from) : found;
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [VALUE[k] ?? k, resolve(v, answers)]));
}

// A call whose answer is needed gave none.
class Unanswered {
  constructor(path) {
    this.path = path;
  }
}

function unanswered(value) {
  if (value instanceof Unanswered) return value.path;
  if (value === null || typeof value !== "object") return undefined;
  return Object.values(value).map(unanswered).find(Boolean);
}

main(...process.argv.slice(2));
