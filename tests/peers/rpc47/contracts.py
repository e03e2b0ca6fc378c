"""The contracts in proto/ as grpcio-tools compiles them: every RPC, and messages to and from plain values.

A plain value is what both clients read from the call list: dicts by field name, enums as numbers, bytes as base64, Struct and
Timestamp spelled out as the messages that they are (@grpc/proto-loader knows no short form of them).
"""

import base64
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from google.protobuf import descriptor, descriptor_pb2, descriptor_pool, message_factory

# Our own test service, which the sample backends serve besides theirs, is none of the 47, nor is gRPC's health.
NONE_OF_THEM = ("portunus.", "google.", "grpc.")


@dataclass(frozen=True)
class Rpc:
    """One RPC and its message classes."""

    path: str
    request: type
    response: type
    client_streaming: bool
    server_streaming: bool

    @property
    def service(self) -> str:
        return self.path.split("/")[0]


class Contracts:
    """All contracts under a folder of .proto files."""

    def __init__(self, protos: Path, folder: Path):
        self.protos = protos
        self.files = sorted(str(p.relative_to(protos)) for p in protos.rglob("*.proto"))
        self._set = descriptor_pb2.FileDescriptorSet.FromString(self._compile(folder / "contracts.pb"))

    def _compile(self, out: Path) -> bytes:
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{self.protos}",
            f"--descriptor_set_out={out}",
            "--include_imports",
            *self.files,
        ]
        subprocess.run(command, check=True)
        return out.read_bytes()

    @cached_property
    def rpcs(self) -> dict[str, Rpc]:
        """Every RPC by its path `package.Service/Method`."""
        pool = descriptor_pool.DescriptorPool()
        for file in self._set.file:
            pool.Add(file)
        found = {}
        for file in self._set.file:
            if file.package.startswith(NONE_OF_THEM):
                continue
            for service in pool.FindFileByName(file.name).services_by_name.values():
                for method in service.methods:
                    rpc = Rpc(
                        f"{service.full_name}/{method.name}",
                        message_factory.GetMessageClass(method.input_type),
                        message_factory.GetMessageClass(method.output_type),
                        method.client_streaming,
                        method.server_streaming,
                    )
                    found[rpc.path] = rpc
        return found


def fill(message, value: dict):
    """Sets a message's fields from a plain value. An unknown field is a mistake in the call list: KeyError."""
    for name, item in value.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if is_map(field):
            fill_map(message, field, item)
        elif field.is_repeated:
            for element in item:
                if field.message_type:
                    fill(getattr(message, name).add(), element)
                else:
                    getattr(message, name).append(scalar(field, element))
        elif field.message_type:
            # A message that is there but empty is not one that is absent.
            getattr(message, name).SetInParent()
            fill(getattr(message, name), item)
        else:
            setattr(message, name, scalar(field, item))
    return message


def fill_map(message, field, entries: dict):
    value_field = field.message_type.fields_by_name["value"]
    target = getattr(message, field.name)
    for key, item in entries.items():
        if value_field.message_type:
            fill(target[key], item)
        else:
            target[key] = scalar(value_field, item)


def plain(message) -> dict:
    """A message's set fields as a plain value; unlike JSON's own form it minds no Struct or Timestamp out of its range."""
    return {field.name: plain_field(field, value) for field, value in message.ListFields()}


def plain_field(field, value):
    if is_map(field):
        of = field.message_type.fields_by_name["value"]
        return {str(k): plain_single(of, v) for k, v in value.items()}
    return [plain_single(field, v) for v in value] if field.is_repeated else plain_single(field, value)


def plain_single(field, value):
    if field.message_type:
        return plain(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return (
        str(value)
        if field.cpp_type in (descriptor.FieldDescriptor.CPPTYPE_INT64, descriptor.FieldDescriptor.CPPTYPE_UINT64)
        else value
    )


def is_map(field) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def scalar(field, value):
    """JSON has no bytes, and no 64-bit integers that JavaScript would keep."""
    if field.type == descriptor.FieldDescriptor.TYPE_BYTES:
        return base64.b64decode(value)
    if field.cpp_type in (descriptor.FieldDescriptor.CPPTYPE_INT64, descriptor.FieldDescriptor.CPPTYPE_UINT64):
        return int(value)
    return value
