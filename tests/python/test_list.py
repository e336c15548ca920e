"""Listings: the output of `dcfs list` equals what DataChain records for the same storage."""

import json
import re
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

import pytest

import mounts
import servers
from listings import PATTERNS, by_datachain, config_of

FIELDS = ["source", "path", "size", "version", "etag", "is_latest", "last_modified"]


class Listing:
    """The output of `dcfs list`: rows, and the last line for each folder."""

    def __init__(self, text):
        self.rows, self.folders, waiting = [], [], []
        for line in map(json.loads, text.split("\n")[:-1]):
            if "totals" in line:
                self.folders.append(line)
                self.rows += [(line["source"], *(row[name] for name in FIELDS[1:])) for row in waiting]
                waiting = []
            else:
                waiting.append(line)
        self.rows.sort()

    @property
    def paths(self):
        return [row[1] for row in self.rows]

    @property
    def totals(self):
        (folder,) = self.folders
        return folder["totals"]


def listed(dcfs, *arguments, **options):
    return Listing(dcfs.ok("list", *arguments, **options))


def refused(dcfs, code, *arguments, **options):
    """The message of a listing that must fail with that exit code."""
    result = dcfs.run("list", *arguments, **options)
    assert result.returncode == code, (result.returncode, result.stdout[-2000:], result.stderr)
    return result.stderr


# Files of this machine


def test_a_tree_is_listed_as_datachain_lists_it(tree, dcfs, tmp_path):
    answers = by_datachain(tmp_path / "d", [f"{tree}{pattern}" for pattern in PATTERNS])
    for pattern in PATTERNS:
        mine, theirs = listed(dcfs, f"{tree}{pattern}"), answers[f"{tree}{pattern}"]
        # A row that two alternatives select is there twice for DataChain.
        assert mine.rows == sorted(set(theirs)), pattern
        for folder in mine.folders:
            assert folder["listing"] is None or folder["listing"] in answers, pattern
    everything = listed(dcfs, f"file://{tree}")
    assert everything.rows == answers[everything.folders[0]["listing"]]
    assert len(everything.rows) == everything.totals["objects"] == 26


def test_what_cannot_be_recorded_is_left_out_and_counted(dcfs, tmp_path):
    root = tmp_path / "t"
    (root / "a/.datachain").mkdir(parents=True)
    (root / "a/.datachain/db").write_bytes(b"")
    (root / "a/f").write_bytes(b"abc")
    os.makedirs(os.fsencode(root) + b"/\xff/below")
    open(os.fsencode(root) + b"/n\xfe", "w").close()
    os.mkfifo(root / "fifo")
    socket.socket(socket.AF_UNIX).bind(str(root / "socket"))
    os.symlink("a", root / "folder")
    os.symlink("..", root / "a/up")
    os.symlink("nowhere", root / "dangling")
    os.symlink("a/f", root / "link")
    result = dcfs.run("list", root)
    assert result.returncode == 0
    mine = Listing(result.stdout)
    assert mine.paths == ["a/f", "link"]
    totals = mine.totals
    assert {name: totals[name] for name in ("not_utf8", "folder_links", "broken_links", "special", "own")} == {
        "not_utf8": 2, "folder_links": 2, "broken_links": 1, "special": 2, "own": 1,
    }  # fmt: skip
    assert mine.rows[1][2] == 3, "a link to a file is that file"


def test_relative_paths_and_single_files(tree, dcfs):
    assert listed(dcfs, "a/x.jpg", cwd=tree).rows[0][:2] == (f"file://{tree}/a", "x.jpg")
    assert listed(dcfs, "*.jpg", cwd=tree).paths == ["a.jpg", "x.jpg"]
    assert listed(dcfs, "../t.1 %20/a/b/", cwd=tree).paths == ["c.png", "c/d/e.txt", "x.jpg"]


def test_a_folder_that_cannot_be_read_ends_it(dcfs, tmp_path):
    assert "there is no" in refused(dcfs, 1, tmp_path / "none")
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "t/closed").mkdir(parents=True)
    (tmp_path / "t/closed").chmod(0)
    assert "closed` may not be read" in refused(dcfs, 5, tmp_path / "t")


# S3


ODD = [
    "a b", "a+b", "a%20b", "%2F", "caf\u00e9/\U0001f600", "x&y=z?#", "<&>\"'", "p/./q", "p/../r", "tail ", "\u00e9",
    "dir/", "/lead", "a//b", "//", "a\u2028b", "p//", "p/q/",
]  # fmt: skip
"""Keys; DataChain skips the last ones because of a slash."""


def cloud(s3, home):
    return mounts.Dcfs(home, **s3.KEYS)


@pytest.fixture(scope="module")
def bucket(s3):
    """`list-v` keeps versions, `list-u` does not: odd keys, and more than two pages below `many/`."""
    for name, versioned in [("list-v", True), ("list-u", False)]:
        s3.bucket(name, versioned)
        for number, key in enumerate(ODD):
            s3.put(name, key, b"x" * number)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n, name=name: s3.put(name, f"many/{n % 3}/{n:05}", b"y"), range(1300)))
        for turn in range(3):
            s3.put(name, "many/1/changed", b"z" * turn)
            s3.put(name, "gone", b"z" * turn)
            s3.put(name, "back", b"z" * turn)
        for key in ("gone", "back"):
            s3.client.delete_object(Bucket=name, Key=key)
        s3.put(name, "back", b"here again")
    return s3


@pytest.mark.parametrize("versions", [True, False])
@pytest.mark.parametrize("name", ["list-v", "list-u"])
def test_a_bucket_is_listed_as_datachain_lists_it(bucket, name, versions, tmp_path):
    dcfs = cloud(bucket, tmp_path / "home")
    uris = [f"s3://{name}{rest}" for rest in ["", "/many/", "/many/1", "/a b", "/*", "/many/*/*7", "/**/c*", "/{p,many/2}/**"]]
    # moto skips keys after the given start, and DataChain refuses to continue.
    one_range = {"DATACHAIN_RANGE_LISTING": "0"}
    answers = by_datachain(tmp_path / "d", uris, config_of(bucket), versions, one_range)
    flags = ["--endpoint-url", bucket.url, *([] if versions else ["--current"])]
    for uri in uris:
        mine = listed(dcfs, uri, *flags)
        theirs = answers[uri]
        if mine.folders[0]["listing"] is None:
            # DataChain asks for a single object's headers, whose times have no fractions.
            mine.rows, theirs = [[row[:6] for row in rows] for rows in (mine.rows, theirs)]
        assert mine.rows == theirs, uri
    whole = listed(dcfs, f"s3://{name}", "--all", *flags)
    assert whole.rows == answers[whole.folders[0]["listing"]]
    assert whole.totals["keys"] == 6
    assert whole.totals["is_current"] == (not versions)


def test_old_versions_are_listed_and_not_selected(bucket, tmp_path):
    dcfs = cloud(bucket, tmp_path / "home")
    flags = ["--endpoint-url", bucket.url]
    all_of = listed(dcfs, "s3://list-v/**", "--all", *flags)
    assert [row[5] for row in all_of.rows if row[1] == "gone"] == [False] * 3
    assert sorted(row[5] for row in all_of.rows if row[1] == "back") == [False] * 3 + [True]
    assert listed(dcfs, "s3://list-v/**", *flags).paths.count("back") == 1
    assert "gone" not in listed(dcfs, "s3://list-v/**", *flags).paths
    assert "there is no" in refused(dcfs, 1, "s3://list-v/gone", *flags)


def test_what_is_not_there_and_what_is_not_allowed(bucket, tmp_path):
    dcfs = cloud(bucket, tmp_path / "home")
    flags = ["--endpoint-url", bucket.url]
    assert "there is no `s3://no-such-bucket`" in refused(dcfs, 1, "s3://no-such-bucket/", *flags)
    assert "there is no `s3://list-v/none/`" in refused(dcfs, 1, "s3://list-v/none/", *flags)


# A store under the control of a test.


class Store:
    """Keys listed like S3, with any misbehaviour that a test wants; counts its requests."""

    def __init__(self, keys):
        self.keys, self.asked = sorted(keys, key=lambda key: key.encode()), []
        self.page, self.has_versions, self.breaks = 1000, True, {}

    def answer(self, query):
        self.asked.append(query)
        fault = self.breaks.get(len(self.asked)) or self.breaks.get("all")
        if fault:
            status, body, *more = fault(self, query) if callable(fault) else fault
            if body is not None:
                return status, body, *more
        is_versions = "versions" in query
        if is_versions and not self.has_versions:
            return 501, "<Error><Code>NotImplemented</Code></Error>"
        prefix = query["prefix"][0]
        after = query.get("key-marker", query.get("continuation-token", query.get("start-after", [""])))[0]
        keys = [key for key in self.keys if key.startswith(prefix) and key.encode() > after.encode()]
        return 200, self.xml(keys, is_versions)

    def xml(self, keys, is_versions, url=True):
        page, more = keys[: self.page], len(keys) > self.page
        kind, root = ("Version", "ListVersionsResult") if is_versions else ("Contents", "ListBucketResult")
        entry = "<LastModified>2026-01-02T03:04:05Z</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size>"
        body = "".join(f"<{kind}><Key>{quote(key)}</Key>{entry}</{kind}>" for key in page)
        marker = "NextKeyMarker" if is_versions else "NextContinuationToken"
        end = f"<{marker}>{quote(page[-1])}</{marker}>" if more else ""
        more = "true" if more else "false"
        return f"<{root}><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{body}{end}</{root}>"


@pytest.fixture
def told(tmp_path):
    """Starts stores, and lists them."""
    running = []

    def start(store):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                store.headers = self.headers
                status, body, *more = store.answer(parse_qs(urlsplit(self.path).query, keep_blank_values=True))
                body = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                for name, value in dict(*more).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        flags = ["--anon", "--timeout", "8s", "--endpoint-url", f"http://127.0.0.1:{server.server_port}"]
        return mounts.Dcfs(tmp_path / "home"), flags

    yield start
    for server in running:
        server.shutdown()


SHAPES = {
    "flat": [f"{n:06}" for n in range(60_000)],
    "words": [f"{n * 2654435761 % 2**32:08x}" for n in range(60_000)],
    "a folder each": [f"data/{n:06}/image.jpg" for n in range(60_000)],
    "dates": [f"logs/2024/{m:02}/{d:02}/{n:04}.gz" for m in range(1, 13) for d in range(1, 29) for n in range(150)],
    "one large folder among small": [f"{n:03}/x" for n in range(300)] + [f"150/y{n:06}" for n in range(50_000)],
    "unicode": [f"{chr(0x4E00 + n % 3000)}/\U0001f600{n}" for n in range(30_000)],
    "nested": ["/".join("ab"[n >> bit & 1] * 20 for bit in range(14)) for n in range(1 << 14)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_listed_whole_with_few_requests(told, shape):
    keys = SHAPES[shape]
    store = Store(keys)
    dcfs, flags = told(store)
    mine = listed(dcfs, "s3://b/", *flags, timeout=120)
    assert mine.paths == sorted(keys)
    pages = len(keys) / store.page
    assert len(store.asked) < 3 * pages + 60, len(store.asked)
    ranges = {json.dumps(query.get("key-marker")) for query in store.asked}
    assert len(ranges) > pages * 0.9


def test_a_small_bucket_is_few_requests(told):
    store = Store([f"{n:04}" for n in range(1500)])
    dcfs, flags = told(store)
    assert len(listed(dcfs, "s3://b/", *flags).rows) == 1500
    assert len(store.asked) == 2


def test_a_store_without_versions_says_so(told):
    store = Store([f"{n:04}" for n in range(5000)])
    store.has_versions = False
    dcfs, flags = told(store)
    mine = listed(dcfs, "s3://b/", *flags)
    assert len(mine.rows) == 5000
    assert mine.totals["is_current"] and mine.folders[0]["listing"] == "lst__current__s3://b/"


def test_versions_that_are_not_allowed_are_left_out(told):
    store = Store(["a", "b"])
    store.breaks["all"] = lambda _, query: (403, "<Error><Code>AccessDenied</Code></Error>" if "versions" in query else None)
    dcfs, flags = told(store)
    mine = listed(dcfs, "s3://b/", *flags)
    assert mine.paths == ["a", "b"] and mine.totals["is_current"]


@pytest.mark.parametrize("refusal", [(501, "NotImplemented"), (400, "InvalidArgument"), None])
def test_a_store_that_knows_the_first_version_of_the_question_alone_is_listed(told, refusal):
    """It refuses ListObjectsV2, or answers it as ListObjects; the end of a page names no key."""
    keys = [f"{n:04} +\u00e9" for n in range(3500)]
    store = Store(keys)
    store.has_versions = False

    def old(_, query):
        if refusal and "list-type" in query:
            return refusal[0], f"<Error><Code>{refusal[1]}</Code></Error>"
        page = store.xml([key for key in keys if key > query.get("marker", [""])[0]], False)
        return 200, None if "versions" in query else re.sub("<NextC.*</NextC[^>]*>", "", page)

    store.breaks["all"] = old
    dcfs, flags = told(store)
    assert listed(dcfs, "s3://b/", *flags).paths == keys


@pytest.mark.parametrize("status", [301, 307, 400])
def test_a_bucket_in_another_region_is_listed_there(told, tmp_path, status):
    store = Store([f"{n:04}" for n in range(2500)])

    def elsewhere(_, query):
        if "/eu-west-7/s3/" in store.headers["Authorization"]:
            return 200, None
        return status, "<Error><Code>AuthorizationHeaderMalformed</Code></Error>", {"x-amz-bucket-region": "eu-west-7"}

    store.breaks["all"] = elsewhere
    _, flags = told(store)
    dcfs = mounts.Dcfs(tmp_path / "signing", AWS_ACCESS_KEY_ID="k", AWS_SECRET_ACCESS_KEY="s")
    assert len(listed(dcfs, "s3://b/", *flags[1:]).rows) == 2500
    assert len(store.asked) == 4


def test_a_store_that_wants_the_bucket_in_its_name_gets_it_there(told, tmp_path):
    """With `addressing_style`, and without: the store demands it. The proxy stands in for its name server."""
    store = Store(["a", "b"])

    def hosted(_, query):
        if store.headers["Host"] == "b.oss.test":
            return 200, None
        return 403, "<Error><Code>SecondLevelDomainForbidden</Code></Error>"

    store.breaks["all"] = hosted
    _, flags = told(store)
    config = tmp_path / "config"
    config.write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    for number, named in enumerate([{"AWS_CONFIG_FILE": str(config)}, {}]):
        store.asked = []
        dcfs = mounts.Dcfs(tmp_path / f"proxied-{number}", HTTP_PROXY=flags[-1], http_proxy=flags[-1], **named)
        assert listed(dcfs, "s3://b/", *flags[:-1], "http://oss.test").paths == ["a", "b"]
        assert len(store.asked) == number + 1


def from_the_start(store, query):
    """Ignores start keys, but not its own tokens."""
    if "start-after" in query:
        return 200, store.xml([key for key in store.keys if key.startswith(query["prefix"][0])], False)
    return 200, None


def test_a_store_that_ignores_where_to_begin_loses_and_repeats_nothing(told):
    keys = [f"{n:06}" for n in range(20_000)]
    store = Store(keys)
    store.has_versions = False
    store.breaks["all"] = from_the_start
    dcfs, flags = told(store)
    assert listed(dcfs, "s3://b/", "--current", *flags).paths == keys


@pytest.mark.parametrize("skipped", [1, 700, 30_000])
def test_a_store_that_skips_keys_where_it_is_told_to_begin_loses_none(told, skipped):
    keys = [f"{n:06}" for n in range(20_000)]
    store = Store(keys)

    def skipping(_, query):
        after = query.get("key-marker", [""])[0]
        # Its own continuation markers contain a version too; after these it skips none.
        is_start = after and "version-id-marker" not in query
        left = [key for key in keys if key > after][skipped if is_start else 0 :]
        marker = "<NextVersionIdMarker>v</NextVersionIdMarker></ListVersionsResult>"
        return 200, store.xml(left, True).replace("</ListVersionsResult>", marker)

    store.breaks["all"] = skipping
    dcfs, flags = told(store)
    assert listed(dcfs, "s3://b/", *flags).paths == keys


BUSY = (503, "<Error><Code>SlowDown</Code></Error>")
FAILING = (500, "<Error><Code>InternalError</Code></Error>")
CUT = (200, "<ListVersionsResult><Version><Key>a</Key>")
LATE = (200, "<Error><Code>InternalError</Code></Error>")


@pytest.mark.parametrize("fault", [BUSY, FAILING, CUT, LATE, (200, ""), (200, b"\xff\xfe")])
def test_what_may_be_better_is_asked_again(told, fault):
    store = Store([f"{n:04}" for n in range(3000)])
    store.breaks = {1: fault, 2: fault, 4: fault}
    dcfs, flags = told(store)
    assert len(listed(dcfs, "s3://b/", *flags).rows) == 3000


CIRCLE = "<ListVersionsResult><IsTruncated>true</IsTruncated>{}<NextKeyMarker>a</NextKeyMarker></ListVersionsResult>"
ENTRY = "<Version><Key>{}</Key><Size>1</Size><LastModified>2026-01-02T03:04:05Z</LastModified></Version>"


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ((403, "<Error><Code>AccessDenied</Code></Error>"), 5, "`s3://b/p/` may not be read: the store answers 403 AccessDenied"),
        ((404, "<Error><Code>NoSuchBucket</Code></Error>"), 1, "there is no `s3://b`: the store answers 404 NoSuchBucket"),
        ((301, "<Error><Code>PermanentRedirect</Code></Error>"), 6, "`--region`"),
        ((400, ""), 6, "the store answers 400"),
        ((200, CIRCLE.format(ENTRY.format("p/a"))), 6, "repeats a continuation token"),
        ((200, CIRCLE.format(ENTRY.format("q/a"))), 6, "which does not begin with `p/`"),
        ((200, CIRCLE.replace("<NextKeyMarker>a</NextKeyMarker>", "").format("")), 6, "it does not say where"),
        ((200, "<ListVersionsResult></ListVersionsResult>"), 1, "there is no `s3://b/p/`"),
        (BUSY, 4, "the store is busy"),
        (CUT, 6, "it breaks off"),
    ],
)  # fmt: skip
def test_faults_are_told(told, fault, code, message):
    store = Store([])
    store.breaks["all"] = fault
    dcfs, flags = told(store)
    assert message in refused(dcfs, code, "s3://b/p/", *flags)


def test_keys_in_no_order_are_one_listing(told):
    """Lists like a directory bucket: the first page shows it, and no requests are concurrent."""
    keys = [f"{n * 7919 % 20_000:06}" for n in range(20_000)]
    store = Store([])
    store.has_versions = False

    def shuffled(_, query):
        start = int(query.get("continuation-token", ["0"])[0])
        page = store.xml(keys[start : start + 1000], False)
        end = f"<NextContinuationToken>{start + 1000}</NextContinuationToken></ListBucketResult>"
        more = start + 1000 < len(keys)
        return 200, page.replace("</ListBucketResult>", end).replace("false", "true") if more else page

    store.breaks["all"] = shuffled
    dcfs, flags = told(store)
    assert listed(dcfs, "s3://b/", *flags).paths == sorted(keys)


# The other clouds


def test_google_is_listed_as_datachain_lists_it(tmp_path):
    folder = tmp_path / "gs" / "gs-b"
    for number, key in enumerate(["a b/\u00e9 %20+#.bin", "x/y", "x/z", "x//w", "top", "lead/"]):
        for turn in range(2):
            kept = folder / quote(key, safe="")
            kept.mkdir(parents=True, exist_ok=True)
            (kept / str(1_700_000_000_123_456 + turn)).write_bytes(b"x" * number)
    with servers.web(tmp_path, tmp_path) as url:
        environment = {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        uris = ["gs://gs-b/", "gs://gs-b/x/", "gs://gs-b/x/*"]
        answers = by_datachain(tmp_path / "d", uris, {"anon": True}, environment=environment)
        dcfs = mounts.Dcfs(tmp_path / "home", **environment)
        for uri in uris:
            assert listed(dcfs, uri).rows == answers[uri], uri
        assert listed(dcfs, "gs://gs-b/top").rows[0][3] == "1700000000123457"


def test_azure_is_listed_as_datachain_lists_it(tmp_path):
    keys = ["a b/\u00e9 %20+#.bin", "x/y", "x/z", "top", "a<&>b"]
    with servers.azure_box(tmp_path, keys) as connection:
        environment = {"AZURE_STORAGE_CONNECTION_STRING": connection}
        uris = ["az://box/", "az://box/x/", "az://box/x/*", "az://box/top"]
        answers = by_datachain(tmp_path / "d", uris, {"connection_string": connection}, environment=environment)
        dcfs = mounts.Dcfs(tmp_path / "home", **environment)
        for uri in uris:
            assert listed(dcfs, uri).rows == answers[uri], uri
        assert "there is no `az://none`" in refused(dcfs, 1, "az://none/")
        anonymous = mounts.Dcfs(tmp_path / "other", AZURE_STORAGE_CONNECTION_STRING=connection)
        assert "may not be read" in refused(anonymous, 5, "az://box/", "--anon")
