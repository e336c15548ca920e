"""Messages of the Container Storage Interface as classes, out of its public `csi.proto`, which stands beside this file as it was
released (1.13, Apache 2.0, github.com/container-storage-interface/spec). Read here, for `protoc` is no package that tests need otherwise:
only what that file is written in."""

import re
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2

SCALARS = {"double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13}
"""Types of fields, as `descriptor.proto` counts them."""

MESSAGE, ENUM = 11, 14
OPTIONAL, REPEATED = 1, 3

FIELD = re.compile(r"(repeated )?([\w.]+|map<string, string>) (\w+) = (\d+)$")
METHOD = re.compile(r"rpc (\w+) ?\( ?(\w+)\) returns \((?:stream )?(\w+)\)")


def statements(text):
    """What stands between `{`, `}` and `;`, with the mark that ends it."""
    text = re.sub(r"//[^\n]*|\[[^\]]*\]", " ", text)
    for words, mark in re.findall(r"([^{};]*)([{};])", text):
        yield " ".join(words.split()).replace("string,string", "string, string"), mark


def read(text):
    """The file as a descriptor, and of each method (`Node/NodeGetInfo`) its request and its answer."""
    file = descriptor_pb2.FileDescriptorProto(name="csi.proto", package="csi.v1", syntax="proto3")
    file.dependency.extend(["google/protobuf/wrappers.proto", "google/protobuf/timestamp.proto"])
    methods, open_ = {}, [("file", file)]
    for words, mark in statements(text):
        kind, of = open_[-1]
        if mark == "}":
            open_.pop()
        elif method := METHOD.match(words):
            methods[f"{of}/{method[1]}"] = (method[2], method[3])
            open_.append(("method", None))
        elif mark == "{":
            kind, name = words.split(" ")
            if kind == "message":
                made = (of.message_type if of is file else of.nested_type).add(name=name)
            elif kind == "enum":
                made = of.enum_type.add(name=name)
            elif kind == "oneof":
                of.oneof_decl.add(name=name)
                made = of
            else:
                made = name if kind == "service" else None
            open_.append((kind, made))
        elif kind == "enum" and "=" in words and not words.startswith("option "):
            name, number = words.split(" = ")
            of.value.add(name=name, number=int(number))
        elif kind in ("message", "oneof") and (field := FIELD.match(words)):
            add_field(of, field, kind == "oneof")
    return file, methods


def add_field(message, field, is_one):
    repeated, kind, name, number = field.groups()
    made = message.field.add(name=name, number=int(number), label=REPEATED if repeated else OPTIONAL)
    if is_one:
        made.oneof_index = len(message.oneof_decl) - 1
    if kind.startswith("map"):
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=SCALARS["string"], label=OPTIONAL)
        entry.field.add(name="value", number=2, type=SCALARS["string"], label=OPTIONAL)
        made.type, made.label, made.type_name = MESSAGE, REPEATED, entry.name
    elif kind in SCALARS:
        made.type = SCALARS[kind]
    else:
        made.type_name = f".{kind}" if kind.startswith("google.") else kind
        # Which of the two it is the pool finds out by the name.


def load():
    """The classes of all messages by name, and the methods."""
    file, methods = read(Path(__file__).with_name("csi.proto").read_text())
    pool = descriptor_pool.DescriptorPool()
    for module in [wrappers_pb2, timestamp_pb2]:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"csi.v1.{name}")) for name in names}, methods
