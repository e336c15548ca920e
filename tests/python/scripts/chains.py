"""Saves and reads chains of every kind, and prints what each gives as a line of JSON: on servers the same as in SQLite.

python chains.py FOLDER

FOLDER has files that a listing finds; `few` is there.
"""

import json
import sys
from datetime import datetime, timezone
from typing import Optional

import datachain as dc
from datachain import C, DataModel, func


class Spot(DataModel):
    x: int
    note: Optional[str] = None


class Box(DataModel):
    spot: Spot
    sizes: list[float]


KINDS = {
    "k": int, "s": str, "f": float, "maybe": Optional[int], "ints": list[int], "words": list[str], "dict": dict, "raw": bytes, "at": datetime, "yes": bool,
    "holes": list[Optional[int]], "spots": list[Spot], "box": Box,
}  # fmt: skip

chain = dc.read_values(
    k=[3, 1, 2, 2],
    s=["a/b.c", "x", "y.z\u00e9", "it's \\ %s {}"],
    f=[1.5, float("nan"), 2.0, -0.1],
    maybe=[None, 1, None, 4],
    ints=[[1, 2], [], [3], [4, 5]],
    words=[["a'b\0", "\\"], [], ["\u00e9"], ["", "x"]],
    dict=[{"a": 1}, {}, {"b": [1.5]}, {"c": None}],
    raw=[b"\x00\xff", b"", b"a'", b"\\"],
    at=[datetime(2020, 1, 1, 12, 30, 0, 7, tzinfo=timezone.utc), datetime(1, 1, 1), datetime(9999, 12, 31), datetime(1969, 12, 31, 23, 59, 59, 999999)],
    yes=[True, False, True, False],
    holes=[[1, None], [2], [], [3]],
    spots=[[Spot(x=1)], [], [Spot(x=2, note="q")], []],
    box=[Box(spot=Spot(x=n), sizes=[0.1 * n]) for n in range(4)],
    output=KINDS,
).save("kinds")
other = dc.read_values(k=[1, 9], q=["one", "nine"])
# More groups than one thread makes, and ties.
crowd = dc.read_values(
    n=list(range(3000)), key=[None if n % 997 == 5 else f"{n * 7919 % 1009:x}" for n in range(3000)], part=[n % 3 for n in range(3000)],
    output={"n": int, "key": Optional[str], "part": int},
).save("crowd")  # fmt: skip


def saved(name, chain, *columns):
    """The rows of a saved chain, in its own order."""
    chain.save(name)
    return dc.read_dataset(name).to_list(*columns)


def crowds():
    return crowd.group_by(total=func.sum("n"), n=func.count(), partition_by="key")


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, DataModel):
        return {name: plain(one) for name, one in value}
    if isinstance(value, float) and value != value:
        return "NaN"
    return value if isinstance(value, (int, float, str, dict, type(None))) else repr(value)


CASES = {
    "values": lambda: dc.read_dataset("kinds").to_list(*KINDS),
    "filtered": lambda: chain.filter((C("k") > 1) & C("s").like("%.%")).save("filtered").to_values("s"),
    "ordered": lambda: chain.order_by("k", "s", descending=True).limit(3).save("ordered").to_values("s"),
    "limit": lambda: chain.limit(2).to_values("k"),
    "offset": lambda: chain.offset(1).limit(2).to_values("k"),
    "second half": lambda: chain.order_by("k", "s").offset(2).save("offset").to_values("k"),
    "distinct": lambda: sorted(chain.distinct("k").to_values("k")),
    "mutate": lambda: chain.mutate(z=C("k") * 2 + 1, half=C("k") / 2, k=C("k") + 1).filter(C("k") > 2).save("mutated").to_list("k", "z", "half"),
    "paths": lambda: chain.mutate(n=func.name("s"), p=func.parent("s"), t=func.file_stem("s"), e=func.file_ext("s")).to_list("n", "p", "t", "e"),
    "lists": lambda: chain.mutate(
        n=func.array.length("ints"), has=func.array.contains("ints", 2), at=func.array.get_element("ints", 0), rest=func.array.slice("ints", 1),
        one=func.array.join("words", "-"),
    ).save("lists").to_list("n", "has", "at", "rest", "one"),
    "texts": lambda: chain.mutate(
        n=func.string.length("s"), parts=func.string.split("s", "."), by=func.string.replace("s", "a", "b"), re=func.string.regexp_replace("s", r"(\w)\.", r"\1-"),
    ).save("texts").to_list("n", "parts", "by", "re"),
    "hashes": lambda: chain.mutate(
        n=func.int_hash_64("k"), s1=func.string.string_hash("s"), bits=func.bit_hamming_distance("k", 5), chars=func.byte_hamming_distance("s", func.literal("a/c\u00e9")),
    ).to_list("n", "s1", "bits", "chars"),
    "bits": lambda: chain.mutate(a=func.bit_and("k", 1), b=func.bit_or("k", 4), c=func.bit_xor("k", 1)).to_list("a", "b", "c"),
    "casts": lambda: chain.mutate(
        a=func.cast("k", str), b=func.cast("yes", int), c=func.cast("at", str), d=func.cast("k", float), e=func.cast("f", int), g=func.cast("yes", str),
        h=func.cast(func.literal(" -12x"), int),
    ).to_list("a", "b", "c", "d", "e", "g", "h"),
    "cases": lambda: chain.mutate(c=func.case((C("k") > 2, "big"), else_="small"), i=func.ifelse(C("k") > 2, 1, 0), n=func.isnone("maybe")).to_list("c", "i", "n"),
    "most": lambda: chain.mutate(a=func.greatest("k", 2), b=func.least("k", 2)).to_list("a", "b"),
    "groups": lambda: sorted(
        chain.group_by(
            n=func.count(), total=func.sum("k"), mean=func.avg("f"), least=func.min("k"), known=func.sum("maybe"), partition_by="yes"
        ).save("groups").to_list("yes", "n", "total", "mean", "least", "known")
    ),
    "collected": lambda: sorted((yes, sorted(all)) for yes, all in chain.group_by(all=func.collect("k"), partition_by="yes").save("collected").to_list("yes", "all")),
    "groups in an order": lambda: saved("sorted_groups", crowds().order_by("n"), "key", "n", "total"),
    "groups in an order of two": lambda: saved("sorted_twice", crowds().order_by("n", "total", descending=True), "key", "total"),
    "groups in the order of a sum": lambda: saved("sorted_sums", crowds().order_by(C("total") % 7), "key", "total"),
    "groups in no order": lambda: saved("unsorted_groups", crowds(), "key", "n"),
    "groups by two": lambda: saved("two_keys", crowd.group_by(most=func.max("n"), partition_by=("part", "key")), "part", "key", "most"),
    "groups read": lambda: [crowds().to_list("key", "n"), crowds().limit(3).to_list("key"), crowds().order_by("n").limit(40).to_list("key", "n")],
    "first groups": lambda: saved("first_groups", crowds().order_by("n", "total", descending=True).offset(5).limit(40), "key", "n"),
    "groups with more": lambda: saved("more_groups", crowds().mutate(twice=C("total") * 2).filter(C("n") > 2), "key", "twice"),
    "groups with more in an order": lambda: saved("sorted_more", crowds().mutate(twice=C("total") * 2).order_by("n"), "key", "n", "twice"),
    "groups read in an order": lambda: crowds().mutate(twice=C("total") * 2).order_by("n").offset(3).limit(500).to_list("key", "n", "twice"),
    "distinct in an order": lambda: saved("sorted_distinct", crowd.distinct("key").order_by("key", descending=True), "key"),
    "distinct saved": lambda: saved("saved_distinct", crowd.select("part", "key").distinct("part", "key"), "part", "key"),
    "windows": lambda: chain.mutate(r=func.row_number().over(func.window(partition_by="yes", order_by="k"))).order_by("k", "s").to_list("k", "yes", "r"),
    "whole": lambda: (chain.count(), chain.sum("k"), chain.avg("f"), chain.max("k"), chain.min("f")),
    "map": lambda: chain.map(long=lambda s: len(s), output=int, params="s").save("mapped").to_list("s", "long"),
    "parallel": lambda: chain.settings(parallel=2).map(long=lambda s: len(s), output=int, params="s").to_values("long"),
    "gen": lambda: chain.gen(letter=lambda s: list(s), output=str, params="s").save("generated").to_values("letter"),
    "agg": lambda: sorted(chain.agg(total=lambda k: [sum(k)], partition_by="yes", output=int).save("aggregated").to_values("total")),
    "union": lambda: sorted(chain.union(chain).save("union").to_values("k")),
    "merge": lambda: sorted(map(str, chain.merge(chain.select("k", "f"), on="k").save("merged").to_list("k", "right_f"))),
    "left merge": lambda: chain.select("k", "s").merge(other, on="k").save("left").to_list("k", "s", "q"),
    "full merge": lambda: sorted(chain.select("k", "s").merge(other, on="k", full=True).to_list("k", "s", "right_k", "q"), key=str),
    "inner merge": lambda: chain.select("k").merge(other, on="k", inner=True).to_list("k", "q"),
    "subtract": lambda: chain.subtract(other, on="k").save("subtracted").to_values("k"),
    "sample": lambda: (len(chain.sample(2).to_list()), sorted(chain.shuffle().to_values("k"))),
    "pandas": lambda: chain.to_pandas().shape,
    "listing": lambda: sorted(dc.read_storage(sys.argv[1]).save("listed").to_values("file.size")),
    "delta": lambda: dc.read_storage(sys.argv[1], delta=True, delta_on="file.path").map(n=lambda file: file.size, output=int).save("delta").count(),
    "delta again": lambda: dc.read_storage(sys.argv[1], delta=True, delta_on="file.path").map(n=lambda file: file.size, output=int).save("delta").count(),
    "moved": lambda: [dc.read_dataset("offset").version, dc.move_dataset("offset", "moved"), dc.read_dataset("moved").to_values("k")],
    "deleted": lambda: [dc.delete_dataset("ordered"), sorted(dc.datasets().to_values("name"))],
    "parents": lambda: sorted((one.name, one.version) for one in dc.Session.get().catalog.get_dataset_dependencies("mapped", "1.0.0")),
}
for name, case in CASES.items():
    print(json.dumps([name, plain(case())]), flush=True)
