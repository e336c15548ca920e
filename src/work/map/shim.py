"""Calls a Python function for every row that dcfs hands over: lines of JSON in, lines of JSON out.

    python shim.py FILE.py:FUNCTION BATCH

What the function is annotated with is the schema. Only the standard library is needed; pydantic models and the File of
DataChain are used where the function asks for them. What the function prints goes to standard error.
"""

import base64
import contextlib
import dataclasses
import datetime
import enum
import importlib.util
import inspect
import json
import os
import sys
import time
import traceback
import types
import typing

PROTOCOL = 1
PLAIN = {int: "int", float: "float", str: "str", bool: "bool", bytes: "bytes", dict: "json", datetime.datetime: "datetime"}


PIECE = 1 << 16
"""Bytes read at a time."""

MOMENT = 0.001
"""How long answers are kept back while calls are fast, in seconds; one call that is slow keeps back those before it."""

NUMBERS = {int, float}
OPTIONS = {"buffering", "encoding", "errors", "newline"}


class Refused(Exception):
    """Raised if a function cannot be called for rows."""


class File:
    """The file of a row: a path that any program can open, and the recorded facts of the object."""

    def __init__(self, told):
        self.path = told["path"]
        self.name = told["name"]
        self.uri = told["uri"]
        self.size = told["size"]
        self.etag = told["etag"]
        self.version = told["version"]

    def __fspath__(self):
        return self.path

    def __repr__(self):
        return f"File({self.uri!r})"

    def open(self, mode="rb", **options):
        return open(self.path, mode, **options)

    def read(self):
        with open(self.path, "rb", buffering=0) as file:  # All at once: a buffer would only be another copy.
            return file.read()

    def read_bytes(self):
        return self.read()

    def read_text(self, encoding="utf-8"):
        with open(self.path, encoding=encoding) as file:
            return file.read()

    @property
    def stem(self):
        return os.path.splitext(self.name)[0]

    @property
    def suffix(self):
        return os.path.splitext(self.name)[1]


class TextFile(File):
    """Reads text, as DataChain's does."""

    def open(self, mode="r", **options):
        return super().open(mode, **options)

    def read(self):
        return self.read_text()


class ImageFile(File):
    """Reads an image, as DataChain's does."""

    def read(self):
        import PIL.Image

        return PIL.Image.open(self.path)


SETUP = {}
"""Arguments that the script's chains set up for functions: names, and functions that make the values."""


class Unrun:
    """A chain of the script. It is not run: dcfs does what it would do. Calls while the script is loaded are ignored;
    a function that needs its result for a row gets an error."""

    is_loading = True

    def _more(self, *_, **__):
        if not Unrun.is_loading:
            raise RuntimeError("the script's chain of DataChain is not run by dcfs, so the function cannot use its result")
        return self

    __call__ = __getitem__ = __add__ = __radd__ = __sub__ = __mul__ = __truediv__ = __and__ = __or__ = __invert__ = _more
    __mod__ = __neg__ = __pow__ = __rmul__ = __rsub__ = __rtruediv__ = __setitem__ = _more
    __lt__ = __le__ = __gt__ = __ge__ = __enter__ = _more

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "setup":
            return lambda *_, **given: SETUP.update(given) or self
        return self._more()

    def __exit__(self, *_):
        return False

    def __iter__(self):
        self._more()
        return iter(())

    def __len__(self):
        self._more()
        return 0

    def __bool__(self):
        self._more()
        return False

    __int__ = __index__ = __len__

    def __float__(self):
        self._more()
        return 0.0

    def __format__(self, _):
        self._more()
        return ""


BASES = {"Mapper", "Generator", "Aggregator"}
"""Classes of DataChain that a script may derive its own from."""

WORK = ("read_", "delete_", "move_")
"""Prefixes of DataChain functions that read or change a catalog or a store."""

RESULTS = {"save", "persist", "exec", "show", "count", "collect", "results", "sum", "avg", "min", "max", "__iter__"}
"""Methods that run a chain, besides those that begin with `to_` and `from_`."""


def stand_in():
    """A stand-in for DataChain if it is not installed."""
    module = types.ModuleType("datachain")
    module.File, module.TextFile, module.ImageFile, module.__path__ = File, TextFile, ImageFile, []

    def missing(name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "DataModel":
            from pydantic import BaseModel

            return BaseModel
        if name in BASES:
            return type(name, (), {})
        return Unrun()

    module.__getattr__ = missing
    return module


@contextlib.contextmanager
def unrun_chains(path):
    """While a script that uses DataChain is loaded, its chains are not run, and no bucket is listed."""
    with open(path, "rb") as file:
        is_used = b"datachain" in file.read()
    if not is_used:
        yield
        return
    was = []
    nothing = object()

    def put(owner, name, value):
        was.append((owner, name, vars(owner).get(name, nothing)))
        setattr(owner, name, value)

    try:
        import datachain
    except ImportError:
        sys.modules["datachain"] = stand_in()
    else:
        chain, setup = datachain.DataChain, datachain.DataChain.setup
        for name in dir(datachain):
            if name.startswith(WORK) and inspect.isroutine(getattr(datachain, name)):
                put(datachain, name, lambda *_, **__: Unrun())
        put(chain, "setup", lambda self, **given: SETUP.update(given) or setup(self, **given))
        for name in dir(chain):
            if (name in RESULTS or name.startswith(("to_", "from_"))) and inspect.isroutine(getattr(chain, name)):
                put(chain, name, (lambda *_, **__: iter(())) if name == "__iter__" else (lambda *_, **__: Unrun()))
    try:
        yield
    finally:
        for owner, name, value in was:
            if value is nothing:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
        Unrun.is_loading = False


def is_file(annotation):
    """Whether an annotation is DataChain's File, or a subclass of it."""
    return isinstance(annotation, type) and any(
        base.__module__ == "datachain.lib.file" and base.__name__ == "File" for base in annotation.__mro__
    )


def usual_mode(annotation):
    """The default mode in which a class of DataChain's File opens: TextFile as text."""
    try:
        mode = inspect.signature(annotation.open).parameters["mode"].default
    except (AttributeError, KeyError, TypeError, ValueError):
        return "rb"
    return mode if isinstance(mode, str) else "rb"


def datachain_file(annotation):
    """A subclass of `annotation` that reads its bytes from a path, without a catalog."""
    from pydantic import PrivateAttr

    usual = usual_mode(annotation)

    class Local(annotation):
        _local: str = PrivateAttr(default="")

        @contextlib.contextmanager
        def open(self, mode=usual, **options):
            # Other arguments, such as `block_size`, are for stores.
            options = {name: value for name, value in options.items() if name in OPTIONS}
            with open(self._local, mode, **options) as file:
                yield file

        def get_local_path(self):
            return self._local

        def get_fs_path(self):
            return self._local

        def ensure_cached(self):
            pass

    Local.__name__, Local.__qualname__ = annotation.__name__, annotation.__qualname__

    def make(told):
        made = Local(source=told["source"], path=told["key"], size=told["size"], etag=told["etag"], version=told["version"])
        made._local = told["path"]
        return made

    return make


def is_model(annotation):
    return isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or hasattr(annotation, "model_fields"))


def is_named_tuple(annotation):
    return isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields")


def fields_of(model):
    if hasattr(model, "model_fields"):
        return {name: field.annotation for name, field in model.model_fields.items()}
    hints = typing.get_type_hints(model)
    if dataclasses.is_dataclass(model):
        return {field.name: hints[field.name] for field in dataclasses.fields(model)}
    return hints


def without_none(annotation):
    """The annotation inside an Optional, and whether it is one."""
    if typing.get_origin(annotation) in (typing.Union, getattr(types, "UnionType", typing.Union)):
        some = [item for item in typing.get_args(annotation) if item is not type(None)]
        if len(some) == 1:
            return some[0], True
        raise Refused(f"a column holds one type; {annotation} is several")
    return annotation, False


def schema(annotation, where):
    """An annotation in dcfs's format: the text of a type, or an object of them."""
    annotation, optional = without_none(annotation)
    mark = "?" if optional else ""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return schema(args[0], where)
    if annotation in PLAIN:
        return PLAIN[annotation] + mark
    if origin is typing.Literal or isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = args or [item.value for item in annotation]
        kinds = {type(value) for value in values}
        return PLAIN.get(kinds.pop() if len(kinds) == 1 else str, "str") + mark
    if annotation is list or origin in (list, set, frozenset) or origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        item = schema(args[0], where) if args else "json"
        item = item if isinstance(item, str) else "json"
        return f"list[{item.rstrip('?')}]{mark}"
    if annotation in (typing.Any, object) or origin is dict or annotation in (list, tuple):
        return "json" + mark
    if is_model(annotation) or is_named_tuple(annotation) or isinstance(annotation, type) and issubclass(annotation, dict):
        below = {name: schema(told, f"{where}.{name}") for name, told in fields_of(annotation).items()}
        return printed(below) + "?" if optional else below
    raise Refused(f"the type of `{where}`, {annotation!r}, cannot be stored in a column; give the types with `--out`")


def printed(below):
    one = lambda told: told if isinstance(told, str) else printed(told)
    return "{" + ", ".join(f"{name}: {one(told)}" for name, told in below.items()) + "}"


def plain(value):
    """A value converted for JSON."""
    if value is None or isinstance(value, (str, bool, int, float)) and not isinstance(value, enum.Enum):
        return value
    if isinstance(value, list) and NUMBERS.issuperset(map(type, value)):
        return value  # A vector: as it is, for it may be long.
    if isinstance(value, (list, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "model_fields"):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return {n: plain(v) for n, v in zip(value._fields, value)} if hasattr(value, "_fields") else [plain(v) for v in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, datetime.datetime):
        zone = value.tzinfo or datetime.timezone.utc
        return value.replace(tzinfo=zone).astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "item"):
        return plain(value.item())
    raise TypeError(f"a {type(value).__name__} cannot be stored in a column")


def loaded(path):
    """Loads the module in a file, with imports beside it working as usual."""
    path = os.path.abspath(path)
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise Refused(f"`{path}` is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with unrun_chains(path):
        spec.loader.exec_module(module)
    return module


def maker(hint):
    """Returns the conversion of a column's value to an argument."""
    return (lambda value: hint(**value)) if is_model(hint) else (lambda value: value)


class Program:
    """The function, its parameters, and its types."""

    def __init__(self, word):
        path, _, name = word.rpartition(":")
        module = loaded(path)
        found = module
        for part in name.split("."):
            if not hasattr(found, part):
                known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
                raise Refused(f"`{path}` has no `{name}`; it has {', '.join(known) or 'no function'}")
            found = getattr(found, part)
        self.name = name.rsplit(".", 1)[-1]
        self.extra = {}
        self.teardown = None
        if isinstance(found, type) and hasattr(found, "process"):
            made = found()
            if callable(getattr(made, "setup", None)):
                made.setup()
            self.teardown = getattr(made, "teardown", None)
            self.call = made.process
        else:
            setup = getattr(module, "setup", None)
            if callable(setup) and setup is not found:
                self.extra = setup() or {}
            self.call = found
        if not callable(self.call):
            raise Refused(f"`{name}` of `{path}` is not a function")
        self.is_generator = inspect.isgeneratorfunction(self.call)
        for parameter in inspect.signature(self.call).parameters if isinstance(self.extra, dict) else ():
            if parameter in SETUP:
                made = SETUP[parameter]
                self.extra.setdefault(parameter, made() if callable(made) else made)
        try:
            self.hints = typing.get_type_hints(self.call, include_extras=True)
        except NameError as error:
            raise Refused(f"an annotation of `{name}` cannot be read: {error}") from None
        self.parameters = []
        for parameter in inspect.signature(self.call).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if isinstance(self.extra, dict) and parameter.name in self.extra:
                continue
            self.parameters.append(parameter)
        self.makers = {}
        for parameter in self.parameters:
            hint = self.hints.get(parameter.name, parameter.annotation)
            if isinstance(hint, str):
                hint = None
            hint = without_none(hint)[0] if hint is not inspect.Parameter.empty else None
            # For a group every argument is a list: the conversion is that of one value.
            item = typing.get_args(hint)[0] if typing.get_origin(hint) is list and typing.get_args(hint) else hint
            if is_file(hint) or is_file(item):
                self.makers[parameter.name] = ("file", datachain_file(item), None)
            elif isinstance(item, type) and issubclass(item, File):
                self.makers[parameter.name] = ("file", item, None)
            elif parameter.name == "file" or parameter.name == "files" and hint in (None, list):
                self.makers[parameter.name] = ("file", File, None)
            else:
                self.makers[parameter.name] = ("column", maker(hint), maker(item))

    def out(self):
        told = self.hints.get("return")
        if told is None:
            return None
        origin, args = typing.get_origin(told), typing.get_args(told)
        name = getattr(origin, "__name__", "")
        if self.is_generator or name in ("Iterator", "Iterable", "Generator"):
            self.is_generator = True
            told = args[0] if args else None
        if told is None:
            return None
        try:
            if typing.get_origin(told) is tuple and Ellipsis not in typing.get_args(told):
                return {f"{self.name}_{at}": schema(item, self.name) for at, item in enumerate(typing.get_args(told))}
            return {self.name: schema(told, self.name)}
        except Refused as error:
            return str(error)

    def arguments(self, row):
        arguments = {}
        for parameter in self.parameters:
            kind, make, make_item = self.makers[parameter.name]
            if kind == "file" and row.get("group"):
                arguments[parameter.name] = [make(told) for told in row["files"]]
            elif kind == "file":
                arguments[parameter.name] = make(row["file"]) if row.get("file") else None
            elif parameter.name in row["row"]:
                value = row["row"][parameter.name]
                if row.get("group"):
                    arguments[parameter.name] = [None if one is None else make_item(one) for one in value]
                else:
                    arguments[parameter.name] = None if value is None else make(value)
        return arguments


def answer(program, row, names):
    value = program.call(**program.arguments(row), **program.extra)
    if program.is_generator or inspect.isgenerator(value):
        return {"id": row["id"], "values": [shaped(item, names) for item in value]}
    return {"id": row["id"], "value": shaped(value, names)}


def shaped(value, names):
    """Several columns make an object; a tuple has them in order."""
    if len(names) > 1 and isinstance(value, tuple) and not hasattr(value, "_fields"):
        return {name: plain(item) for name, item in zip(names, value)}
    return plain(value)


def failure(row, error):
    steps = traceback.extract_tb(error.__traceback__)
    own = [step for step in steps if step.filename != __file__]
    at = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()
    return {"id": row["id"], "error": f"{type(error).__name__}: {error}{at}", "kind": "row"}


def requests():
    """Lines of standard input, each with whether the next one has arrived already."""
    parts = []
    while piece := os.read(0, PIECE):
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = b"".join([*parts, lines[0]])
            parts = []
            for at, line in enumerate(lines, 1):
                yield line, at < len(lines)
        parts.append(rest)


class Answers:
    """Lines to dcfs. Those of fast calls are written together: a write for each costs more than the call."""

    def __init__(self, out):
        self.out, self.lines, self.since = out, [], 0.0
        self.process = os.getpid()
        self.encode = json.JSONEncoder(separators=(",", ":")).encode

    def say(self, told):
        self.lines.append(self.encode(told))

    def write(self):
        """Writes all lines; not in a forked child of the function, which has them as well."""
        if self.lines and os.getpid() == self.process:
            text = memoryview("\n".join([*self.lines, ""]).encode())
            self.lines.clear()
            while text:
                text = text[os.write(self.out, text) :]

    def may_wait(self, is_more):
        """Keeps lines back while more rows are there to be computed. The time is asked for after each call, so the lines
        before a slow call are written when it ends."""
        now = time.monotonic()
        if not is_more or now - self.since >= MOMENT:
            self.write()
            self.since = now


def main():
    # Output of a function must not get between the answers.
    answers = Answers(os.dup(1))
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    say = answers.say
    try:
        program = Program(sys.argv[1])
        hello = {"dcfs": PROTOCOL, "name": program.name, "python": f"{sys.version_info[0]}.{sys.version_info[1]}"}
        hello["out"] = program.out()
        hello["gen"] = program.is_generator
        hello["needs"] = [p.name for p in program.parameters if program.makers[p.name][0] == "column" and p.default is p.empty]
        hello["wants"] = [p.name for p in program.parameters if program.makers[p.name][0] == "column" and p.default is not p.empty]
        hello["file"] = any(kind == "file" for kind, *_ in program.makers.values())
    except Refused as error:
        say({"dcfs": PROTOCOL, "refused": str(error)})
        answers.write()
        return 2
    say(hello)
    answers.write()
    names = list(hello["out"]) if isinstance(hello["out"], dict) else []
    is_limited = False
    try:
        for line, is_more in requests():
            told = json.loads(line)
            if "names" in told:
                names, is_limited = told["names"], told["limited"]
                continue
            if "rows" in told:
                batch(program, told["rows"], names, say)
            else:
                try:
                    said = answer(program, told, names)
                except Exception as error:
                    said = failure(told, error)
                say(said)
            # With a time limit, dcfs has to see which row it is that takes long.
            answers.may_wait(is_more and not is_limited)
    finally:
        answers.write()
    if callable(program.teardown):
        program.teardown()
    return 0


def batch(program, rows, names, say):
    """One call for many rows: every argument is a list, and so is the answer."""
    try:
        each = [program.arguments(row) for row in rows]
        lists = {name: [one[name] for one in each] for name in each[0]}
        values = list(program.call(**lists, **program.extra))
        if len(values) != len(rows):
            raise ValueError(f"{len(values)} values for {len(rows)} rows")
        answers = [{"id": row["id"], "value": shaped(value, names)} for row, value in zip(rows, values)]
    except Exception as error:
        if len(rows) == 1:
            return say(failure(rows[0], error))
        # One of them fails: calling each alone shows which.
        for row in rows:
            batch(program, [row], names, say)
        return None
    for said in answers:
        say(said)
    return None


if __name__ == "__main__":
    sys.exit(main())
