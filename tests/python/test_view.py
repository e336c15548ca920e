"""`dcfs view`: the page and its requests, over HTTP; who is let in; what files of strangers may do. In a browser: `make test-browser`."""

import contextlib
import http.client
import io
import json
import subprocess
from urllib.parse import quote, urlsplit

import pytest
from PIL import Image

import mounts


class Page:
    """A served page."""

    def __init__(self, url):
        self.url, self.split = url, urlsplit(url)

    def get(self, path="", method="GET", host=None, token=None, body=None, **headers):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection(self.split.hostname, self.split.port, timeout=60)
        base = self.split.path if token is None else f"/{token}/"
        connection.putrequest(method, base + path, skip_host=True)
        connection.putheader("Host", host or self.split.netloc)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def json(self, path, **query):
        words = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        status, headers, body = self.get(f"{path}?{words}")
        assert (status, headers["Content-Type"]) == (200, "application/json"), (status, body)
        return json.loads(body)


@contextlib.contextmanager
def viewing(dcfs, here, *words):
    process = subprocess.Popen(
        [mounts.DCFS, "view", *map(str, words), "--json"],
        cwd=here,
        env=dcfs.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Page(json.loads(line)["url"])
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def here(dcfs, tmp_path):
    """A catalog of 30 pictures in three folders, and of files that a browser would run."""
    folder = tmp_path / "here"
    for n in range(30):
        place = folder / "files" / "abc"[n % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300 + n, 200), (n * 8, 0, 0)).save(place / f"{n:02}.png")
    hostile = folder / "files" / "<img src=x onerror=alert(1)>"
    hostile.mkdir()
    (hostile / "x.html").write_text("<script>document.title='run'</script>")
    (hostile / "x.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    (hostile / "x.bin").write_bytes(bytes(range(256)) * 100)
    (hostile / "large.bin").write_bytes(bytes(range(256)) * (9 << 12))
    (hostile / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    dcfs.ok("index", "files", "--save", "pets", "--with", "image", "--with", "path:{kind}/{name}", cwd=folder)
    return folder


def rows(page, **query):
    return page.json("rows", **{"where": "", "from": 0, "most": 500, **query})


def test_the_page_asks_for_rows_counts_and_statistics(dcfs, here):
    with viewing(dcfs, here, "pets", "--where", "kind = a") as page:
        status, headers, body = page.get()
        assert status == 200 and b'<script src="view.js">' in body
        assert "default-src 'none'" in headers["Content-Security-Policy"] and "unsafe" not in headers["Content-Security-Policy"]
        assert page.get("view.js")[1]["Content-Type"].startswith("text/javascript")
        about = page.json("about")
        assert (about["name"], about["version"], about["rows"], about["filter"]) == ("pets", "1.0.0", 35, "kind = a")
        assert page.json("count", where="") == {"rows": 35}
        assert page.json("count", where="kind = a") == {"rows": 10}
        wrong = page.json("count", where="knd = a")["error"]
        assert "^" in wrong and "did you mean `kind`" in wrong, "the caret of a filter"
        some = rows(page, where="kind = a order by info.width desc", most=3)
        assert [sorted(row) for row in some] == [["path", "sys__id"]] * 3, "no column is asked for, which may be megabytes"
        widths = [page.json("row", id=row["sys__id"])["row"]["info"]["width"] for row in some]
        assert widths == [327, 324, 321]
        paged = [row["path"] for start in range(0, 35, 7) for row in rows(page, **{"from": start, "most": 7})]
        assert paged == [row["path"] for row in rows(page)] and len(paged) == 35
        stats = {column["column_name"]: column for column in page.json("stats", where="kind != b")["statistics"]}
        assert stats["kind"]["column_statistics"]["frequencies"]["a"] == 10 and "b" not in stats["kind"]["column_statistics"]["frequencies"]
        one = page.json("row", id=some[0]["sys__id"])
        assert one["row"]["info"]["width"] == 327 and one["files"][0]["uri"].endswith("/a/27.png")
        why = page.json("why", id=some[0]["sys__id"])["text"]
        assert "pets@1.0.0" in why and "/a/27.png" in why, why
        for path, status in {"row?id=999": 404, "why?id=999": 404, "row?id=x": 400, "rows?where=(": 400, "file?id=1&column=9": 404, "nothing": 404}.items():
            assert page.get(path)[0] == status, path


def test_small_pictures_are_made_once_and_what_is_none_is_told(dcfs, here):
    with viewing(dcfs, here, "pets") as page:
        first = rows(page, where="kind = b limit 1")[0]
        status, headers, body = page.get(f"thumb?id={first['sys__id']}&column=0")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg") and "immutable" in headers["Cache-Control"]
        with Image.open(io.BytesIO(body)) as small:
            assert max(small.size) == 256
        kept = list(dcfs.cache.rglob("thumbs/*.jpg"))
        assert len(kept) == 1
        kept[0].write_bytes(b"kept")
        assert page.get(f"thumb?id={first['sys__id']}&column=0")[2] == b"kept"
        broken = rows(page, where="file.path glob '*broken.jpg'")[0]
        assert page.get(f"thumb?id={broken['sys__id']}&column=0")[0] == 400


def test_files_of_strangers_run_nothing(dcfs, here):
    with viewing(dcfs, here, "pets") as page:
        ids = {row["path"].rsplit("/", 1)[1]: row["sys__id"] for row in rows(page, where="file.path glob '*/x.*'")}
        for name, kind in {"x.html": "text/plain; charset=utf-8", "x.svg": "text/plain; charset=utf-8", "x.bin": "application/octet-stream"}.items():
            status, headers, _ = page.get(f"file?id={ids[name]}&column=0")
            assert (status, headers["Content-Type"]) == (200, kind)
            assert headers["Content-Security-Policy"].startswith("sandbox") and headers["X-Content-Type-Options"] == "nosniff"
        assert page.get(f"file?id={ids['x.bin']}&column=0")[1]["Content-Disposition"] == "attachment"
        whole = bytes(range(256)) * 100
        for asked, status, want in [
            ("bytes=5-9", 206, whole[5:10]),
            ("bytes=25590-", 206, whole[25590:]),
            ("bytes=-3", 206, whole[-3:]),
            ("bytes=99999-", 416, None),
            ("bytes=9-5", 416, None),
            ("nonsense", 200, whole),
        ]:
            got = page.get(f"file?id={ids['x.bin']}&column=0", Range=asked)
            assert got[0] == status and (want is None or got[2] == want), asked
        assert page.get(f"file?id={ids['x.bin']}&column=0", "HEAD")[2] == b""
        large = bytes(range(256)) * (9 << 12)
        (id,) = [row["sys__id"] for row in rows(page, where="file.path glob '*large.bin'")]
        status, headers, body = page.get(f"file?id={id}&column=0")
        assert (status, headers["Content-Length"]) == (200, str(len(large))) and body == large, "all of it, where no part is asked for"
        for asked in ("bytes=0-", "bytes=-99999999"):
            status, headers, body = page.get(f"file?id={id}&column=0", Range=asked)
            assert status == 206 and body == large[: 8 << 20] and headers["Content-Range"].endswith(f"/{len(large)}")


def test_members_of_tars_and_files_inside_models_are_served(dcfs, shapes_catalog):
    with viewing(dcfs, shapes_catalog, "members") as page:
        for row in rows(page):
            name = row["path"].split("/")[-1]
            status, headers, body = page.get(f"file?id={row['sys__id']}&column=0")
            assert status == 200 and (body == b"" or body.split(b" ", 1)[1].decode().endswith(name)), (row, body)
    with viewing(dcfs, shapes_catalog, "fragments") as page:
        first = rows(page)[0]
        (file,) = page.json("row", id=first["sys__id"])["files"]
        assert file["column"] == "frag.audio" and file["uri"].endswith(".wav")
        status, headers, body = page.get(f"file?id={first['sys__id']}&column=0", Range="bytes=0-3")
        assert (status, headers["Content-Type"], body) == (206, "audio/wav", b"RIFF")


def test_values_that_browsers_do_not_read_are_texts(dcfs, here):
    (here / "odd.csv").write_text("x,n,t\ninf,9007199254740993,NaN\n1.5,2,b\n")
    dcfs.ok("load", "odd.csv", "--as", "odd", cwd=here)
    with viewing(dcfs, here, "odd") as page:
        listed = rows(page)
        told = [page.json("row", id=row["sys__id"])["row"] for row in listed]
        assert [row["n"] for row in told] == ["9007199254740993", 2]
        assert [row["x"] for row in told] == ["Infinity", 1.5] and told[0]["t"] == "NaN"


def test_versions_differences_and_lineage_are_near(dcfs, here):
    dcfs.ok("save", "pets", "--where", "kind = a", "--as", "child", cwd=here)
    Image.new("RGB", (310, 200), (9, 9, 9)).save(here / "files" / "a" / "00.png")
    Image.new("RGB", (300, 200)).save(here / "files" / "a" / "new.png")
    (here / "files" / "b" / "01.png").unlink()
    dcfs.ok("index", "files", "--save", "pets", cwd=here)
    dcfs.ok("index", "files", "--save", "apart", cwd=here)
    with viewing(dcfs, here, "pets") as page:
        about = page.json("about")
        assert [one["version"] for one in about["versions"]] == ["1.0.0", about["version"]] and about["write"] is False
        assert page.json("about", of="pets@1.0.0")["rows"] == 35
        old = page.json("rows", of="pets@1.0.0", where="file.path = 'a/00.png'", **{"from": 0, "most": 1})[0]
        assert page.json("row", of="pets@1.0.0", id=old["sys__id"])["row"]["info"]["width"] == 300
        assert page.get(f"thumb?of=pets%401.0.0&id={old['sys__id']}&column=0")[0] in (200, 410, 502), "its object is another one now"
        found = page.json("diff", **{"with": "pets@1.0.0", "part": "changed", "from": 0})
        assert found["counts"] == {"added": 1, "changed": 1, "removed": 1, "same": 33}
        (pair,) = found["rows"]
        assert pair["before"]["path"] == pair["after"]["path"] == "a/00.png" and "info.width" in pair["columns"]
        assert pair["before"]["id"] == str(old["sys__id"])
        (added,) = page.json("diff", **{"with": "pets@1.0.0", "part": "added", "from": 0})["rows"]
        (removed,) = page.json("diff", **{"with": "pets@1.0.0", "part": "removed", "from": 0})["rows"]
        assert added["after"]["path"] == "a/new.png" and added["before"] is None
        assert removed["before"]["path"] == "b/01.png" and removed["after"] is None
        assert page.json("diff", **{"with": "pets@1.0.0", "part": "added", "from": 1})["rows"] == []
        graph = page.json("graph", of="pets@1.0.0")
        levels = {node["name"]: node["level"] for node in graph["nodes"]}
        assert levels["pets@1.0.0"] == 0 and levels["child@1.0.0"] == 1 and min(levels.values()) == -1
        names = [node["name"] for node in graph["nodes"]]
        edges = {(names[child], names[parent]) for child, parent in graph["edges"]}
        assert ("child@1.0.0", "pets@1.0.0") in edges and len(edges) == len(graph["edges"])
        assert page.json("about", of="child@1.0.0")["rows"] == 10, "what was made from it is shown too"
        assert page.get("about?of=apart%401.0.0")[0] == 404, "and nothing else"
        assert page.get("about?of=..%2F..%2Fetc")[0] == 404
        assert page.get("diff?with=apart%401.0.0")[0] == 404


def test_a_filter_is_saved_where_that_was_allowed(dcfs, here):
    wanted = json.dumps({"where": "kind = a order by info.width desc limit 3", "name": "best"}).encode()
    with viewing(dcfs, here, "pets") as page:
        origin = f"http://{page.split.netloc}"
        assert page.get("save", "POST", body=wanted, Origin=origin)[0] == 405
    with viewing(dcfs, here, "pets", "--write") as page:
        origin = f"http://{page.split.netloc}"
        assert page.json("about")["write"] is True
        assert page.get("save", "POST", body=wanted)[0] == 403, "no browser leaves the origin out"
        assert page.get("save", "POST", body=wanted, Origin="http://evil.example")[0] == 403
        assert page.get("save", "POST", body=wanted, token="0" * 32, Origin=origin)[0] == 404
        assert page.get("rows", "POST", body=wanted, Origin=origin)[0] == 404
        assert page.get("save", "POST", body=b"x" * 100_000, Origin=origin)[0] == 400
        status, _, body = page.get("save", "POST", body=wanted, Origin=origin)
        assert (status, json.loads(body)) == (200, {"saved": "best@1.0.0", "rows": 3})
        for name, where, why in [("a..b", "", "is not a dataset"), ("x", "knd = a", "did you mean"), ("x", "kind = zzz", "no row passes")]:
            status, _, body = page.get("save", "POST", body=json.dumps({"where": where, "name": name}).encode(), Origin=origin)
            assert status == 400 and why in body.decode(), body
    widths = [json.loads(line)["info"]["width"] for line in dcfs.ok("show", "best", "--json", cwd=here).splitlines()]
    assert widths == [327, 324, 321]
    assert "dcfs save pets@1.0.0 --where" in dcfs.ok("lineage", "best", cwd=here)


def test_nobody_else_is_let_in(dcfs, here):
    with viewing(dcfs, here, "pets") as page:
        assert page.get(token="0" * 32)[0] == 404
        assert page.get(host="evil.example")[0] == 421, "a name that was made to mean this machine"
        assert page.get(Origin="http://evil.example")[0] == 403
        assert page.get(method="POST")[0] == 405
        assert page.get("rows?where=" + "a" * 100_000)[0] in (400, 414, 431)
        port = page.split.port
        message = dcfs.run("view", "pets", "--port", str(port), cwd=here)
        assert message.returncode != 0 and f"port {port}" in message.stderr
    assert "no dataset `nothing`" in dcfs.run("view", "nothing", cwd=here).stderr
    assert "^" in dcfs.run("view", "pets", "--where", "kind ==", cwd=here).stderr
