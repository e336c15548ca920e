"""`moving` in three versions, `other` beside it, and the differences according to DataChain: `expected.json`.

From 1.0.0 to 1.0.1 rows leave whose files stay, files come, one is written anew and values change; 2.0.0 has another
column. `flat` has no file.
"""

import json
from pathlib import Path

import datachain as dc
from datachain import C


def write(path, text):
    path = Path("data") / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def saved(label, score, name="moving", **options):
    rows = dc.read_storage("data", update=True).filter(~C("file.path").glob("*/gone*"))
    rows = rows.map(label=label, output=str, params=["file"])
    rows = rows.map(score=score, output=float, params=["file"])
    return rows.map(emb=lambda file: [float(len(file.path)), 0.5], output=list[float]).persist(), name, options


def save(rows, name, options):
    rows.save(name, **options)


def status(new, old):
    """Each row's path and its status according to DataChain."""
    new, old = (dc.read_dataset("moving", version=version) for version in (new, old))
    rows = new.diff(old, on=["file.source", "file.path"], same=True, status_col="status")
    return sorted(rows.to_list("file.path", "status"))


for folder in "abc":
    for number in range(6):
        write(f"{folder}/{number}.txt", f"{folder}{number}\n")
save(*saved(lambda file: file.path[0], lambda file: float(file.size)))
for number in range(4):
    write(f"d/{number}.txt", f"new {number}\n")
write("b/5.txt", "written anew\n")
rows, name, options = saved(
    lambda file: "x" if "c/1" in file.path else file.path[0],
    lambda file: 7.5 if "c/1" in file.path or "c/2" in file.path else float(file.size),
)
left = rows.filter(~C("file.path").glob("*a/0.txt")).filter(~C("file.path").glob("*a/1.txt"))
left.save(name)
left.mutate(twice=C("file.size") * 2).save(name, update_version="major")
left.filter(C("file.size") > 3).save("other")
dc.read_values(n=[1, 1, 2], t=["a", "a", "b"]).save("flat")
dc.read_values(n=[1, 2, 3], t=["a", "b", "c"]).save("flat")
Path("expected.json").write_text(json.dumps({"up": status("1.0.1", "1.0.0"), "down": status("1.0.0", "1.0.1")}))
