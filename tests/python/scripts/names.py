"""Names of strangers: of files on disk and of datasets; the same file in many rows; two sources."""

import datachain as dc

HOSTILE = [
    "with space",
    "a/b",
    "new\nline",
    "emoji \U0001f600",
    "quote ' and \"",
    "%41 percent",
    "-dash",
    "back\\slash",
    "star * [x] ?",
    "x" * 300,
    "\u65e5\u672c",
    "`tick` | <b>",
    "$(echo no)",
]

odd = dc.read_storage("data/odd")
odd.save("odd")
for name in HOSTILE:
    odd.limit(2).save(name)
images = dc.read_storage("data/images")
images.union(images).union(images).save("repeated")
images.union(dc.read_storage("data/tars")).save("two_sources")
images.limit(4).save("of_the_team")
