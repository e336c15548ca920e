"""Files that are parts of others: members of tars, and one audio file in many fragments."""

from collections.abc import Iterator

import datachain as dc
from datachain import AudioFile, C
from datachain.lib.file import AudioFragment
from datachain.lib.tar import process_tar


def fragments(file: AudioFile) -> Iterator[AudioFragment]:
    for second in range(3):
        yield AudioFragment(audio=file, start=float(second), end=second + 1.0)


dc.read_storage("data/audio", type="audio").gen(frag=fragments).save("fragments")
dc.read_storage("data/tars").filter(C("file.path").glob("*.tar")).gen(file=process_tar).save("members")
