"""Steps of `dcfs map` and `dcfs gen` that need no program."""

import hashlib
import io
import shutil
import tarfile

from PIL import Image

from programs import COUNTED, SIZES


def test_steps_need_no_program(work):
    files = work.here / "files"
    Image.new("RGB", (40, 30)).save(files / "plain.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 30)).save(files / "turned.jpg", exif=turned)
    (files / "words.txt").write_text("one two\ncaf\u00e9\n")
    work.ok("index", "files", "--save", "f")
    work.ok("map", "f", "--as", "h", "--step", "hash")
    for path, digest in work.rows("h", "file__path, sha256"):
        assert digest == hashlib.sha256((files / path).read_bytes()).hexdigest(), path
    work.ok("map", "f", "--as", "t", "--step", "text")
    counts = {path: rest for path, *rest in work.rows("t", "file__path, text__lines, text__words, text__characters, text__encoding")}
    assert counts["words.txt"] == [2, 3, 13, "utf-8"] and counts["f_02.txt"] == [0, 1, 3, "ascii"]
    assert counts["plain.png"] == [0, 0, 0, "binary"]
    work.ok("map", "f", "--as", "i", "--step", "image")
    sides = {path: rest for path, *rest in work.rows("i", "file__path, image__width, image__height, image__format, image__orientation")}
    assert sides["plain.png"] == [40, 30, "PNG", 1] and sides["turned.jpg"] == [30, 40, "JPEG", 6]
    assert sides["words.txt"] == [None] * 4
    assert work.python("import datachain as dc; print(dc.read_dataset('i').filter(dc.C('image.width') == 30).count())").split() == ["1"]
    assert "nothing to compute" in work.ok("map", "f", "--as", "h", "--step", "hash")
    assert "has types of its own" in work.refused(2, "map", "f", "--as", "x", "--step", "hash", "--out", "a: int")
    work.refused(2, "map", "f", "--as", "x", "--step", "hash", "--", "wc")


def test_what_the_pixels_of_a_picture_say(work):
    files = work.here / "files"
    wave = Image.new("L", (90, 60))
    wave.putdata([(x * x // 7 + y * 3) % 200 for y in range(60) for x in range(90)])
    pictures = {"wave.png": wave, "small.png": wave.resize((45, 30)), "flip.png": wave.transpose(Image.Transpose.FLIP_LEFT_RIGHT)}
    pictures |= {"rgb.webp": wave.convert("RGB"), "alpha.png": wave.convert("RGBA"), "grey.jpg": wave, "icon.ico": wave}
    for name, picture in pictures.items():
        picture.save(files / name)
    (files / "cut.png").write_bytes((files / "wave.png").read_bytes()[:200])
    work.ok("index", "files", "--save", "f")
    work.ok("map", "f", "--as", "i", "--step", "image:all")
    columns = "file__path, image__width, image__mode, image__dhash"
    found = {path: rest for path, *rest in work.rows("i", columns)}
    modes = {"wave.png": "L", "rgb.webp": "RGB", "alpha.png": "RGBA", "grey.jpg": "L"}
    assert {name: found[name][1] for name in modes} == modes
    differ = lambda one, other: ((found[one][2] ^ found[other][2]) & (1 << 64) - 1).bit_count()
    assert max(differ("wave.png", other) for other in ("small.png", "rgb.webp", "alpha.png", "grey.jpg")) <= 8
    assert differ("wave.png", "flip.png") > 16
    assert found["cut.png"] == [90, None, None] and found["icon.ico"][1:] == [None, None], "the size is told by the header"
    assert found["f_00.txt"] == [None, None, None]


def test_media_are_described_by_ffprobe(work):
    probe = work.here / "bin" / "ffprobe"
    probe.parent.mkdir()
    work.write("bin/ffprobe", """
        #!/bin/sh
        for path; do :; done
        case $path in *f_02.txt) echo "no media" >&2; exit 1;; esac
        echo '{"format":{"duration":"3.5","format_name":"wav"},"streams":[{"codec_type":"audio","codec_name":"pcm"}]}'
    """)
    few = ("--where", "file.size < 4", "--on-error", "keep", "--step", "media")
    path = work.dcfs.environment["PATH"]
    work.dcfs.environment["PATH"] = f"{probe.parent}:{path}"
    assert work.run("map", "f", "--as", "m", *few).returncode == 3
    rows = work.rows("m", "media__seconds, media__audio, media__width, error")
    assert rows[0] == (3.5, "pcm", None, None) and rows[2][0] is None and "no media" in rows[2][3]
    if not shutil.which("ffprobe"):
        work.dcfs.environment["PATH"] = path
        assert work.run("map", "f", "--as", "n", *few).returncode == 3
        assert all("needs ffprobe" in error for (error,) in work.rows("n", "error"))


def test_members_of_a_tar_become_files(work):
    names = ["a.txt", "deep/" + "x" * 120 + "/b.txt", "caf\u00e9.txt", "empty"]
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(work.here / "files" / f"t{kind}.tar", "w", format=kind) as tar:
            for n, name in enumerate(names):
                data = name.encode() * 3 if name != "empty" else b""
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "a.txt"
            tar.addfile(link)
    work.ok("index", "files", "--save", "f")
    assert "run it by `dcfs gen`" in work.refused(2, "map", "f", "--as", "m", "--step", "tar")
    work.ok("gen", "f", "--as", "m", "--where", "file.path like '%.tar'", "--step", "tar")
    rows = work.rows("m", "file__path, file__size")
    assert sorted(rows) == sorted((f"t{kind}.tar/{name}", 0 if name == "empty" else 3 * len(name.encode())) for kind in (0, 1, 2) for name in names)
    assert work.ok("cat", "m/t2.tar/a.txt") == "a.txt" * 3
    work.ok("map", "m", "--as", "sums", "--step", "hash")
    sums = dict(work.rows("sums", "file__path, sha256"))
    assert sums["t2.tar/a.txt"] == hashlib.sha256(b"a.txt" * 3).hexdigest() and len(sums) == 12
    script = """
        import datachain as dc
        from datachain.lib.tar import process_tar
        ours = {f.path: (f.read(), f.location[0]["offset"]) for f in dc.read_dataset("m").to_values("file")}
        chain = dc.read_dataset("f").filter(dc.C("file.path").glob("*.tar"))
        theirs = {f.path: (f.read(), f.location[0]["offset"]) for f in chain.gen(file=process_tar).to_values("file")}
        assert ours == theirs, (ours, theirs)
        print(len(ours))
    """
    assert work.python(script).split()[-1] == "12"
    said = work.refused(5, "gen", "f", "--as", "n", "--where", "file.path = 'f_01.txt'", "--step", "tar")
    assert "f_01.txt" in said


def test_steps_that_keep_errors_follow_each_other(work):
    work.function(COUNTED + "\n    def half(size: int) -> float:\n        assert size != 7\n        return size / 2\n")
    work.ok("map", "f", "--as", "s", "--on-error", "keep", "--", "python", "info.py:size")
    assert work.run("map", "s", "--as", "h", "--on-error", "keep", "--", "python", "info.py:half").returncode == 3
    rows = work.rows("h", "half, error, half_error")
    assert [half for half, *_ in rows] == [None if n == 7 else n / 2 for n in SIZES]
    assert rows[6][1] is None and "AssertionError" in rows[6][2]
