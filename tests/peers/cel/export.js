// Writes CEL's conformance cases as lines of JSON, and the types that they name as a descriptor set, for portunus-cel to read:
// `node export.js CASES.jsonl TYPES.binpb FILE...`; run.py starts it. What portunus-cel does not know ends it: no case is lost.
//
// A value is proto JSON of cel.expr.Value, but for its messages, so that a reader needs no JSON form of Any: a message is
// {"messageValue": {"type", "wire"}}, the wire in base64, a duration {"durationValue": {"seconds", "nanos"}}, as is a timestamp.
// -0 is a string, because JSON.stringify drops its sign.
"use strict";

const fs = require("fs");
const { create, toBinary, toJson } = require("@bufbuild/protobuf");
const { DurationSchema, FileDescriptorSetSchema, TimestampSchema, anyUnpack } = require("@bufbuild/protobuf/wkt");
const { getConformanceSuite } = require("@bufbuild/cel-spec/testdata/tests.js");
const { getTestRegistry } = require("@bufbuild/cel-spec/testdata/registry.js");
const { DeclSchema } = require("@bufbuild/cel-spec/cel/expr/checked_pb.js");

function main(casesFile, typesFile, names) {
  const suites = new Map(getConformanceSuite().suites.map((suite) => [suite.name, suite]));
  const lines = [];
  for (const name of names) {
    if (!suites.has(name)) throw new Error(`@bufbuild/cel-spec has no file ${name}, only ${[...suites.keys()].join(" ")}`);
    for (const section of suites.get(name).suites) {
      for (const test of section.tests) lines.push(JSON.stringify(exported(name, section.name, test)));
    }
  }
  fs.writeFileSync(casesFile, lines.map((line) => `${line}\n`).join(""));
  fs.writeFileSync(typesFile, toBinary(FileDescriptorSetSchema, types()));
}

function exported(file, section, { name, original }) {
  for (const unknown of ["disableMacros", "checkOnly", "locale"]) {
    if (original[unknown]) throw new Error(`${file}/${section}/${name} has ${unknown}, which portunus-cel does not know`);
  }
  return {
    file,
    section,
    name,
    expr: original.expr,
    container: original.container,
    disable_check: original.disableCheck,
    type_env: original.typeEnv.map((declaration) => toJson(DeclSchema, declaration)),
    bindings: Object.fromEntries(Object.entries(original.bindings).map(([name, bound]) => [name, binding(bound)])),
    expected: expected(original.resultMatcher),
  };
}

function binding({ kind }) {
  if (kind.case !== "value") throw new Error(`a binding that is ${kind.case}, which portunus-cel does not know`);
  return value(kind.value);
}

// An unspecified result stands for `true`.
function expected(matcher) {
  switch (matcher.case) {
    case undefined:
      return { value: { boolValue: true } };
    case "value":
      return { value: value(matcher.value) };
    case "evalError":
      return { eval_error: matcher.value.errors.map((error) => error.message) };
    default:
      throw new Error(`an expected result that is ${matcher.case}, which portunus-cel does not know`);
  }
}

function value({ kind }) {
  switch (kind.case) {
    case "nullValue":
      return { nullValue: null };
    case "int64Value":
    case "uint64Value":
      return { [kind.case]: String(kind.value) };
    case "doubleValue":
      return { doubleValue: double(kind.value) };
    case "bytesValue":
      return { bytesValue: Buffer.from(kind.value).toString("base64") };
    case "enumValue":
      return { enumValue: { type: kind.value.type, value: kind.value.value } };
    case "listValue":
      return { listValue: { values: kind.value.values.map(value) } };
    case "mapValue":
      return { mapValue: { entries: kind.value.entries.map((entry) => ({ key: value(entry.key), value: value(entry.value) })) } };
    case "objectValue": {
      const { typeUrl, value: wire } = kind.value;
      const duration = anyUnpack(kind.value, DurationSchema);
      if (duration) return { durationValue: { seconds: String(duration.seconds), nanos: duration.nanos } };
      const timestamp = anyUnpack(kind.value, TimestampSchema);
      if (timestamp) return { timestampValue: { seconds: String(timestamp.seconds), nanos: timestamp.nanos } };
      return { messageValue: { type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1), wire: Buffer.from(wire).toString("base64") } };
    }
    case "boolValue":
    case "stringValue":
    case "typeValue":
      return { [kind.case]: kind.value };
    default:
      throw new Error(`a value that is ${kind.case}, which portunus-cel does not know`);
  }
}

function double(value) {
  if (Object.is(value, -0)) return "-0";
  return Number.isFinite(value) ? value : String(value);
}

// Each file behind what it imports.
function types() {
  const files = new Map();
  const add = (file) => {
    if (files.has(file.proto.name)) return;
    file.dependencies.forEach(add);
    files.set(file.proto.name, file.proto);
  };
  [...getTestRegistry().files].forEach(add);
  return create(FileDescriptorSetSchema, { file: [...files.values()] });
}

const [casesFile, typesFile, ...names] = process.argv.slice(2);
if (names.length === 0) throw new Error("usage: node export.js CASES.jsonl TYPES.binpb FILE...");
main(casesFile, typesFile, names);
