"""`dcfs map` and `dcfs gen`: programs of every kind over real files."""

import json

import pytest
from PIL import Image

from programs import COUNTED, SIZES
from written import versions


def test_a_function_needs_no_package_and_its_annotations_are_the_types(work):
    work.function(
        """
        from dataclasses import dataclass
        from typing import Literal, Optional

        @dataclass
        class Box:
            width: int
            ratio: float

        @dataclass
        class Info:
            kind: Literal["even", "odd"]
            box: Box
            tags: list[str]
            half: Optional[float] = None

        def info(file, sys_extra="x") -> Info:
            print("this goes to the log")
            n = file.size
            return Info("odd" if n % 2 else "even", Box(n, n / 2), [file.name, file.suffix], None if n % 2 else n / 2)
        """
    )
    out = work.ok("map", "f", "--as", "info", "--", "python", "info.py:info")
    assert out.startswith("saved info@1.0.0: 30 rows; 30 rows computed in ")
    columns = "info__kind, info__box__width, info__box__ratio, info__tags, info__half"
    assert work.rows("info", columns)[1] == ("even", 2, 1.0, '["f_01.txt",".txt"]', 1.0)
    assert work.rows("info", columns)[0][4] is None
    script = """
        import datachain as dc
        chain = dc.read_dataset("info")
        print(chain.count(), chain.filter(dc.C("info.kind") == "odd").count())
        (info,) = [row[0] for row in chain.order_by("file.path").limit(1).to_list("info")]
        print(info.box.width, info.tags, info.half)
        chain.map(double=lambda info: info.box.width * 2, output=int).save("doubled")
    """
    out = work.python(script)
    assert out.splitlines()[:2] == ["30 15", "1 ['f_00.txt', '.txt'] None"]
    assert work.ok("count", "doubled", "--where", "double == 60").split()[-1] == "1"


def test_pydantic_models_and_the_file_of_datachain(work):
    work.function(
        """
        from datachain import File
        from pydantic import BaseModel

        class Text(BaseModel):
            text: str
            path: str

        def read(file: File) -> Text:
            with file.open() as opened:
                return Text(text=opened.read().decode(), path=file.path)
        """
    )
    work.ok("map", "f", "--as", "texts", "--", "python", "info.py:read")
    assert work.rows("texts", "read__text, read__path")[2] == ("xxx", "f_02.txt")


def test_setup_classes_columns_and_names(work):
    work.function(
        """
        def setup():
            return {"model": 1000}

        def scaled(file, model) -> int:
            return file.size + model

        class Processor:
            def setup(self):
                self.add = 7
            def process(self, file, scaled: int) -> tuple[int, str]:
                return scaled + self.add, file.name
            def teardown(self):
                open("ended", "w").close()
        """
    )
    work.ok("map", "f", "--as", "one", "--", "python", "info.py:scaled")
    work.ok("map", "one", "--as", "two", "--out", "n, name", "--", "python", "info.py:Processor")
    assert work.rows("two", "scaled, n, name")[4] == (1005, 1012, "f_04.txt")
    assert (work.here / "ended").exists()


def test_a_process_for_each_file(work):
    work.ok("map", "f", "--as", "a", "--out", "n: int", "--stdin", "--", "wc", "-c")
    assert [n for (n,) in work.rows("a", "n")] == SIZES
    work.ok("map", "f", "--as", "b", "--out", "line: str", "--jobs", "3", "--", "sh", "-c", "echo {/} {.} {id} {col:file.size}")
    assert work.rows("b", "line")[3] == (f"f_03.txt {work.here}/files/f_03 4 4",)
    work.ok("map", "f", "--as", "c", "--out", "name: str, size: int", "--", "sh", "-c", 'printf \'{"name":"%s","size":%s}\' {/} $(wc -c < {})')
    assert work.rows("c", "name, size")[9] == ("f_09.txt", 10)
    assert work.ok("gen", "f", "--as", "d", "--where", "file.size < 4", "--out", "n: int", "--", "seq", "{col:file.size}")
    assert [n for (n,) in work.rows("d", "n")] == [1, 1, 2, 1, 2, 3]


WORKER = """
    #!/usr/bin/env python3
    import json, sys
    print(json.dumps({"dcfs": 1}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        rows = asked["rows"] if "rows" in asked else [asked]
        print(f"{len(rows)} rows", file=sys.stderr)
        for row in reversed(rows):
            size = len(open(row["file"]["path"], "rb").read())
            print(json.dumps({"id": row["id"], "value": {"n": size, "v": [0.1, 1e-7, size]}}), flush=True)
"""


@pytest.mark.parametrize("batch", [1, 7])
def test_a_worker_that_stays(work, batch):
    work.write("worker", WORKER)
    words = ("--out", "n: int, v: list[float]", "--jobs", "2", "--batch", str(batch), "--worker", "--", "./worker")
    work.ok("map", "f", "--as", "w", *words)
    rows = work.rows("w", "n, v")
    assert rows == [(n, f"[0.1, 1e-07, {n}]") for n in SIZES], "vectors are kept digit by digit"


def test_many_rows_of_one_file(work):
    work.function(
        """
        from typing import Iterator

        def parts(file) -> Iterator[int]:
            print("log")
            for n in range(file.size % 3):
                yield n
        """
    )
    assert "run it by `dcfs gen`" in work.refused(2, "map", "f", "--as", "p", "--", "python", "info.py:parts")
    done = work.done("gen", "f", "--as", "p", "--only", "file", "--", "python", "info.py:parts")
    assert done["rows"] == sum(n % 3 for n in SIZES)
    assert work.rows("p", "file__path, parts")[:3] == [("f_00.txt", 0), ("f_01.txt", 0), ("f_01.txt", 1)]
    again = work.done("gen", "f", "--as", "p", "--only", "file", "--", "python", "info.py:parts")
    assert (again["is_new"], again["version"]) == (False, "1.0.0")


def test_filters_order_and_limit_are_kept(work):
    work.function(COUNTED)
    work.ok("map", "f", "--as", "s", "--where", "file.size > 5 order by file.size desc limit 4", "--", "python", "info.py:size")
    assert [n for (n,) in work.rows("s", "size")] == [30, 29, 28, 27]
    assert "nothing was made" in work.refused(2, "map", "f", "--as", "e", "--where", "file.size > 99", "--", "python", "info.py:size")
    assert versions(work.here, "e") == []
    work.ok("map", "f", "--as", "e", "--where", "file.size > 99", "--allow-empty", "--", "python", "info.py:size")
    assert work.rows("e", "size") == []


def test_a_few_rows_are_shown_and_nothing_is_saved(work):
    work.function(COUNTED)
    out = work.ok("map", "f", "--try", "3", "--", "python", "info.py:size")
    assert out.splitlines()[0].endswith("f_00.txt  1")
    assert "all 30 rows would take about" in out and "nothing was saved" in out
    assert len(work.calls()) == 3 and work.runs() == []


def test_what_the_program_sees_is_what_the_row_says(work):
    work.function(COUNTED)
    (work.here / "files" / "f_05.txt").write_bytes(b"other")
    said = work.refused(5, "map", "f", "--as", "s", "--", "python", "info.py:size")
    assert "f_05.txt` is no longer the object" in said
    result = work.run("map", "f", "--as", "s", "--on-error", "keep", "--", "python", "info.py:size")
    assert result.returncode == 3
    assert [n for (n,) in work.rows("s", "size")] == [None if n == 6 else n for n in SIZES]


def test_objects_of_a_bucket_have_their_own_names_as_plain_paths(work, s3):
    bucket = "mapped"
    s3.bucket(bucket, False)
    for n in range(12):
        s3.put(bucket, f"a/{n}/pic {n}.bin", bytes([n]) * (n * 1000))
    url = ("--endpoint-url", s3.url)
    work.dcfs.environment |= s3.KEYS
    work.ok("index", f"s3://{bucket}/", "--save", "b", *url)
    work.function("import os\ndef f(file) -> tuple[str, int, str]:\n    return os.path.basename(file.path), len(file.read()), file.uri\n")
    work.ok("map", "b", "--as", "s", "--out", "name, size, uri", *url, "--", "python", "info.py:f")
    assert sorted(work.rows("s", "name, size, uri")) == sorted(
        (f"pic {n}.bin", n * 1000, f"s3://{bucket}/a/{n}/pic {n}.bin") for n in range(12)
    )
    out = work.ok("map", "b", "--as", "u", "--out", "n: int", "--cache-size", "0", *url, "--", "stat", "-Lc", "%s", "{}")
    assert "saved u@1.0.0: 12 rows" in out
    assert sorted(n for (n,) in work.rows("u", "n")) == [n * 1000 for n in range(12)]
    assert list((work.dcfs.cache / "dcfs" / "runs").iterdir()) == [], "nothing is left of a run"


# The README of DataChain 0.62, verbatim; its arrows in ASCII.
CREATE_DATASET = '''
from PIL import Image
import io
from pydantic import BaseModel
import datachain as dc


class ImageInfo(BaseModel):
    width: int
    height: int


def get_info(file: dc.File) -> ImageInfo:
    img = Image.open(io.BytesIO(file.read()))
    return ImageInfo(width=img.width, height=img.height)


ds = (
    dc.read_storage(
        "s3://dc-readme/oxford-pets-micro/images/**/*.jpg",
        anon=True,
        update=True,
        delta=True,  # re-runs skip unchanged files
    )
    .settings(prefetch=64)
    .map(info=get_info)
    .save("pets_images")
)
ds.show(5)
'''


EMBED = '''
import open_clip, torch, io
from PIL import Image
import datachain as dc

model, _, preprocess = open_clip.create_model_and_transforms(
    "ViT-B-32", "laion2b_s34b_b79k"
)
model.eval()

counter = 0


def encode(file: dc.File, model, preprocess) -> list[float]:
    global counter
    counter += 1
    if counter > 236:  # <- bug: remove these two lines
        raise Exception("some bug")  # <-
    img = Image.open(io.BytesIO(file.read())).convert("RGB")
    with torch.no_grad():
        return model.encode_image(preprocess(img).unsqueeze(0))[0].tolist()


(
    dc.read_dataset("pets_images")
    .settings(batch_size=100)
    .setup(model=lambda: model, preprocess=lambda: preprocess)
    .map(emb=encode)
    .save("pets_embeddings")
)
'''


CLIP = '''
"""A stand-in for the model, which is half a gigabyte: means of the colours."""

class Vector(list):
    def unsqueeze(self, _):
        return Vector([self])

    def tolist(self):
        return list(self)


class Model:
    def eval(self):
        pass

    def encode_image(self, pictures):
        return pictures


def create_model_and_transforms(name, weights):
    def preprocess(picture):
        return Vector(channel / 255 for channel in picture.resize((1, 1)).getpixel((0, 0)))
    return Model(), None, preprocess
'''


def test_the_walk_of_the_readme_of_datachain(work):
    """Its two scripts unchanged: dcfs does what their chains do, and functions receive what the chains pass to them."""
    pictures = work.here / "pictures"
    pictures.mkdir()
    for n in range(300):
        Image.new("RGB", (20 + n % 7, 30), (n % 256, 0, 255)).save(pictures / f"pug_{n:03}.jpg")
    work.write("create_dataset.py", CREATE_DATASET)
    work.write("embed.py", EMBED)
    work.write("open_clip.py", CLIP)
    work.write("torch.py", "import contextlib\nno_grad = contextlib.nullcontext\n")
    work.ok("index", "pictures", "--save", "pets")
    made = work.done("map", "pets", "--as", "pets_images", "--out", "info", "--delta", "--", "python", "create_dataset.py:get_info")
    assert (made["computed"], versions(work.here, "pets_images")) == (300, ["1.0.0"])
    embed = ("map", "pets_images", "--as", "pets_embeddings", "--out", "emb", "--", "python", "embed.py:encode")
    said = work.refused(5, *embed)
    assert "Exception: some bug" in said and versions(work.here, "pets_embeddings") == []
    (run,) = work.runs()
    assert run["rows"] == 236, "no row that was computed is lost; DataChain goes on from 201"
    bug = EMBED.index("    if counter > 236"), EMBED.index("    img = ")
    work.write("embed.py", EMBED[: bug[0]] + EMBED[bug[1] :])
    result = work.run("map", "--json", *embed[1:])
    assert "236 of 300 rows were computed by another one" in result.stdout + result.stderr, result
    done = json.loads(result.stdout.splitlines()[-1])
    assert (done["computed"], done["reused"]) == (64, 236)
    told = work.python(
        """
        import datachain as dc
        chain = dc.read_dataset("pets_embeddings")
        first = next(iter(chain.filter(dc.C("file.path").glob("*pug_002.jpg")).to_iter("info", "emb")))
        print(chain.count(), first[0].width, [round(x) for x in first[1]])
        """
    )
    assert told.split("\n")[0] == "300 22 [0, 0, 1]"
    assert versions(work.here, "pets_images") == ["1.0.0"], "no chain of a script ran"


def test_without_datachain_its_scripts_are_understood_and_their_chains_have_no_answers(work):
    work.write("datachain.py", "raise ImportError('not installed')\n")
    work.write("info.py", CREATE_DATASET.replace("from PIL import Image\n", "") + "\n\ndef size(file: dc.File) -> int:\n    return len(file.read())\n"
               "\n\ndef lost(file: dc.TextFile) -> int:\n    return len(file.read()) + ds.count()\n"
               "\n\ndef parts(file: dc.TextFile) -> int:\n    with file.open() as text:\n        return len(text.read().split('x'))\n")
    work.ok("map", "f", "--as", "s", "--", "python", "info.py:size")
    assert [n for (n,) in work.rows("s", "size")] == SIZES
    work.ok("map", "f", "--as", "p", "--", "python", "info.py:parts")
    assert [n for (n,) in work.rows("p", "parts")] == [n + 1 for n in SIZES]
    assert "is not run by dcfs" in work.refused(5, "map", "f", "--as", "l", "--", "python", "info.py:lost")


def test_lines_of_a_command_are_rows(work):
    (work.here / "files" / "lines.txt").write_text("12:TODO\n[b]\n\nend\n")
    work.ok("index", "files", "--save", "f")
    work.ok("gen", "f", "--as", "l", "--where", "file.path = 'lines.txt'", "--out", "line: str", "--", "cat", "{}")
    assert work.rows("l", "line") == [("12:TODO",), ("[b]",), ("end",)]
