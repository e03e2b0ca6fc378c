"""Requests made up from descriptors by a seeded generator: the same seed makes the same requests, field by field."""

import base64
import random

from contracts import Rpc, is_map
from google.protobuf.descriptor import FieldDescriptor as F

# Oneofs may hold one member only, and Struct.Value is one; nesting ends here.
DEPTH = 3
# Over a frame (16 KiB); but a refusal may quote it in grpc-message, and Node takes no more than 64 KiB of trailers.
LARGE = 30_000
WORDS = ["", "plan", "résumé", "数据分析", "🔑 key", "a b\tc", "0", "-1", '{"a": [1, 2]}', "../../etc", "x" * 300]


def requests(rpc: Rpc, seed: int, pins: dict) -> list[dict]:
    """Plain values for one RPC: the empty request, two of made-up fields, and one with a large text where a text fits.

    `pins` maps `package.Message.field` to the value that is always used there.
    """
    made = [{}]
    for number in range(2):
        made.append(message(rpc.request.DESCRIPTOR, random.Random(f"{seed} {rpc.path} {number}"), pins, 0))
    texts = [
        f.name
        for f in rpc.request.DESCRIPTOR.fields
        if f.type == F.TYPE_STRING and not f.is_repeated and f.full_name not in pins
    ]
    if texts:
        made.append(made[1] | {texts[0]: "0123456789" * (LARGE // 10)})
    return made


def message(descriptor, dice: random.Random, pins: dict, depth: int) -> dict:
    value = {}
    taken = set()
    for field in descriptor.fields:
        if field.full_name in pins:
            value[field.name] = pins[field.full_name]
            continue
        group = field.containing_oneof
        # A field is left out now and then; the deeper, the more often, so that a Struct in a Struct ends.
        if (group and group.name in taken) or dice.random() < 0.2 + 0.2 * depth:
            continue
        if field.message_type and depth == DEPTH:
            continue
        if group:
            taken.add(group.name)
        value[field.name] = member(field, dice, pins, depth)
    return value


def member(field, dice, pins, depth):
    if is_map(field):
        of = field.message_type.fields_by_name["value"]
        return {f"k{n}": single(of, dice, pins, depth) for n in range(dice.randint(1, 3))}
    if field.is_repeated:
        return [single(field, dice, pins, depth) for _ in range(dice.randint(1, 3))]
    return single(field, dice, pins, depth)


def single(field, dice, pins, depth):
    match field.cpp_type:
        case F.CPPTYPE_MESSAGE:
            return message(field.message_type, dice, pins, depth + 1)
        case F.CPPTYPE_ENUM:
            return dice.choice(field.enum_type.values).number
        case F.CPPTYPE_BOOL:
            return dice.random() < 0.5
        case F.CPPTYPE_DOUBLE | F.CPPTYPE_FLOAT:
            # Eighths are exact in both formats, so no rounding is compared.
            return dice.randint(-80, 80000) / 8
        case F.CPPTYPE_INT64:
            return str(dice.choice([0, 1, -1, 2**53 + 1, dice.randint(-(2**40), 2**40)]))
        case F.CPPTYPE_UINT64:
            return str(dice.choice([0, 1, 2**53 + 1, dice.randint(0, 2**40)]))
        case F.CPPTYPE_INT32:
            return dice.choice([0, 1, -1, dice.randint(0, 1000)])
        case F.CPPTYPE_UINT32:
            return dice.choice([0, 1, dice.randint(0, 1000)])
        case F.CPPTYPE_STRING if field.type == F.TYPE_BYTES:
            return base64.b64encode(dice.randbytes(dice.randint(0, 40))).decode()
        case F.CPPTYPE_STRING:
            return dice.choice(WORDS)
    raise TypeError(f"{field.full_name}: no value is made for type {field.cpp_type}")
