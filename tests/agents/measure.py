"""The cost of ten questions about a catalog for an agent: calls and characters, by files, by `dcfs`, and by MCP.

    DCFS_BIN=target/release/dcfs .venv/bin/python tests/agents/measure.py

A scripted agent asks them in order and forgets nothing: a question that an earlier answer has answered costs no call. Each
answer is held against facts that are computed here, without dcfs. Prints the table of `docs/agents.md`. Needs /dev/fuse.
"""

import asyncio
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))

import mounts
from mcp import Client, StdioServerParameters

LABELS = ["pug", "beagle", "shiba_inu"]

EMBED = """
def emb(file) -> list[float]:
    from PIL import Image
    return [value / 255 for value in Image.open(file).convert("L").resize((4, 4)).tobytes()]
"""

QUERY = "pug_21.jpg"
"""The file whose neighbours are requested, and the reason why it is in `wide`."""


def pictures(folder):
    """120 pictures; `(name, width, height)` of each."""
    draw = random.Random(0)
    folder.mkdir()
    for number in range(120):
        label = LABELS[number % 3 if number % 7 else 0]
        width = 320 + 10 * (number % 40)
        small = Image.frombytes("RGB", (64, 48), draw.randbytes(3 * 64 * 48))
        name = f"{label}_{number}.jpg"
        small.resize((width, 240)).save(folder / name, quality=20)
        yield name, width


def build(dcfs, folder):
    """Datasets derived from one another, the first in two versions; and the facts that answers are compared with."""
    widths = dict(pictures(folder / "photos"))
    (folder / "embed.py").write_text(EMBED)
    index = ["index", "./photos", "--save", "pets", "--description", "Pets by breed"]
    dcfs.ok(*index, "--with", "image", "--with", "path:{label}_{n:int}", cwd=folder)
    for number in (200, 201, 202):
        (folder / "photos" / f"pug_{number}.jpg").write_bytes((folder / "photos" / "pug_0.jpg").read_bytes())
    dcfs.ok("index", "./photos", "--save", "pets", "--delta", cwd=folder)
    dcfs.ok("save", "pets", "--where", "info.width > 500", "--as", "wide", cwd=folder)
    dcfs.ok("map", "wide", "--as", "wide_emb", "--", sys.executable, "embed.py:emb", cwd=folder)
    wide = [name for name, width in widths.items() if width > 500]
    vectors = {name: vector(folder / "photos" / name) for name in wide}
    near = sorted(wide, key=lambda name: distance(vectors[QUERY], vectors[name]))[1]
    pugs = sum(name.startswith("pug") for name in widths) + 3
    return {"near": near, "width": widths[QUERY], "pugs": pugs, "share": f"{100 * pugs / 123:.1f}"}


def vector(path):
    return [value / 255 for value in Image.open(path).convert("L").resize((4, 4)).tobytes()]


def distance(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return 1 - dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def questions(facts):
    """Each question, with patterns that an answer to it must contain."""
    return [
        ("which datasets are there", [r"\bpets\b", r"\bwide\b", r"wide(\\)?_emb"]),
        ("what is one row of `pets`", [r"label\W+(Optional\[)?str|label: \w+", r"beagle(\\)?_\d+\.jpg", r"width"]),
        ("its largest classes", [rf"pug\W+({facts['share']}%|{facts['pugs']}\b)"]),
        ("near neighbours of a picture", [re.escape(facts["near"])]),
        ("where did `wide_emb` come from", [r"wide@1\.0\.0", r"pets@1\.0\.1", r"photos"]),
        ("what changed in `pets` since 1.0.0", [r"\+3\b|\b3 added|ADDED|added \| 3|3 new"]),
        ("who uses `pets`", [r"(?i)used by[\s\S]{0,40}wide|from pets@1\.0\.1|pets@1\.0\.1\W+wide|wide \|[^\n]*pets@1\.0\.1"]),
        ("why is one picture in `wide`", [r"info\.width > 500", rf"\b{facts['width']}\b"]),
        ("how fresh is it", [r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d"]),
        ("how do I train on it", [r"read_dataset\(\"pets\"|_views/by/|ls 'datasets/pets"]),
    ]


NEAR = f'order by cosine_distance(emb, "{QUERY}") limit 3'

FILES = [
    ["cat mnt/knowledge/index.md"],
    ["cat mnt/knowledge/datasets/pets.md"],
    ["cat mnt/datasets/pets/_README.md"],
    [f"ls 'mnt/datasets/wide_emb/{NEAR}/'"],
    ["cat mnt/knowledge/datasets/wide_emb.md"],
    ["cat mnt/datasets/pets/_views/diff/1.0.0/_summary.md"],
    ["cat mnt/knowledge/datasets/wide.md"],
    ["sed -n '/Source code/,$p' mnt/datasets/wide/_lineage.md", f"grep -h '\"{QUERY}\"' mnt/datasets/wide/_rows.jsonl"],
    ["cat mnt/datasets/pets/_lineage.md"],
    ["cat mnt/datasets/pets/_README.md"],
]

DCFS = [
    ["dcfs ls"],
    ["dcfs cat knowledge/datasets/pets.md"],
    ["dcfs count pets --by label"],
    [f"dcfs show wide_emb --where '{NEAR}' --columns file.path"],
    [f"dcfs why wide_emb {QUERY}"],
    ["dcfs diff pets@1.0.0 pets@1.0.1 --limit 1"],
    ["dcfs sql 'select parent, parent_version, dataset from catalog.dependencies'"],
    [f"dcfs why wide {QUERY}"],
    ["dcfs ls pets"],
    ["dcfs cat knowledge/datasets/pets.md | sed -n '/^## Use/,/^## Freshness/p'"],
]

MCP = [
    [("context", {})],
    [("context", {"name": "pets"})],
    [("query", {"sql": "select label, count(*) n from pets group by label order by n desc"})],
    [("files", {"dataset": "wide_emb", "filter": NEAR})],
    [("context", {"name": "wide_emb", "row": QUERY})],
    [("context", {"name": "pets"})],
    [("query", {"sql": "select dataset from catalog.dependencies where parent = 'pets'"})],
    [("context", {"name": "wide", "row": QUERY})],
    [("query", {"sql": "select finished_at from catalog.versions where dataset = 'pets'"})],
    [("context", {"name": "pets"})],
]


class Agent:
    """Asks in order, and remembers all answers."""

    def __init__(self, ask, ways):
        self.ask, self.ways, self.seen = ask, ways, ""

    async def run(self, wanted):
        """`(calls, characters)` of each question."""
        costs = []
        for (question, patterns), calls in zip(wanted, self.ways):
            done = characters = 0
            for call in calls:
                if self.knows(patterns):
                    break
                answer = await self.ask(call)
                done, characters = done + 1, characters + len(answer)
                self.seen += answer + "\n"
            assert self.knows(patterns), f"{question}: {[p for p in patterns if not re.search(p, self.seen)]} in\n{self.seen}"
            costs.append((done, characters))
        return costs

    def knows(self, patterns):
        return all(re.search(pattern, self.seen) for pattern in patterns)


async def measure(dcfs, folder, facts):
    """The costs by each way."""
    environment = dcfs.environment | {"PATH": f"{folder / 'bin'}:{dcfs.environment['PATH']}"}

    async def shell(command):
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    wanted = questions(facts)
    costs = {"files": await Agent(shell, FILES).run(wanted), "dcfs": await Agent(shell, DCFS).run(wanted)}
    server = StdioServerParameters(command=str(mounts.DCFS), args=["mcp"], env=environment, cwd=folder)
    async with Client(server) as client:

        async def tool(call):
            answer = await client.call_tool(*call)
            assert not answer.is_error, (call, answer)
            return "".join(block.text for block in answer.content if block.type == "text")

        costs["MCP"] = await Agent(tool, MCP).run(wanted)
    return wanted, costs


def table(wanted, costs):
    """Markdown, with a line of sums."""
    ways = list(costs)
    lines = ["| question | " + " | ".join(ways) + " |", "|---|" + "---|" * len(ways)]

    def cell(calls, characters):
        return f"{calls} / {characters:,}" if calls else "known"

    for number, (question, _) in enumerate(wanted):
        lines.append(f"| {question} | " + " | ".join(cell(*costs[way][number]) for way in ways) + " |")
    for name, part in [("the first two", slice(0, 2)), ("all ten", slice(None))]:
        sums = [tuple(map(sum, zip(*costs[way][part]))) for way in ways]
        lines.append(f"| **{name}** | " + " | ".join(f"**{cell(*total)}**" for total in sums) + " |")
    return "\n".join(lines)


def run(folder):
    """Builds, mounts and measures below `folder`."""
    dcfs = mounts.Dcfs(folder / "home")
    (folder / "bin").mkdir()
    (folder / "bin" / "dcfs").symlink_to(mounts.DCFS)
    facts = build(dcfs, folder)
    with dcfs.mount(folder, folder / "mnt"):
        return asyncio.run(measure(dcfs, folder, facts))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="dcfs-agents-") as folder:
        print(table(*run(Path(folder))))
