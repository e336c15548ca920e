"""Processes that read files of a mount at random and compare each with the truth.

python readers.py MOUNTED TRUTH --processes 4 [--files N] [--lenient] [--seed S]

MOUNTED and TRUTH are folders of the same files. Prints `reading` once it starts, and at the end one line of
JSON: the files read, and what went wrong. Without `--files` it goes on until it is ended, or
until the mount is. `--lenient`: an error of the system ends a process in peace; wrong bytes never do.
"""

import argparse
import json
import os
import random


def read_one(mounted, truth, name):
    """Reads all of a file, or sometimes a part of a large one; returns the error, or nothing."""
    with open(os.path.join(truth, name), "rb") as right, open(os.path.join(mounted, name), "rb") as file:
        size = os.fstat(right.fileno()).st_size
        start, length = 0, size
        if size > 1 << 20 and random.random() < 0.9:
            start, length = random.randrange(size), random.choice([1, 4096, 200_000])
        found, wanted = all_of(file, start, length), all_of(right, start, length)
        return [] if found == wanted else [f"{name}: {len(wanted)} bytes from {start} are not right"]


def all_of(file, start, length):
    """Bytes of a file up to its end; a failure after the first of them is an error too."""
    found = b""
    while len(found) < length and (more := os.pread(file.fileno(), length - len(found), start + len(found))):
        found += more
    return found


def read(asked, names, number):
    """The work of one process: files read, and the errors."""
    random.seed(f"{asked.seed} {number}")
    count, wrong = 0, []
    try:
        while not asked.files or count < asked.files:
            wrong += read_one(asked.mounted, asked.truth, random.choice(names))
            count += 1
            if wrong:
                break
    except OSError as error:
        if not asked.lenient:
            wrong.append(str(error))
    return {"files": count, "wrong": wrong}


def names_below(folder):
    found = []
    for base, _, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(base, file), folder) for file in files]
    return sorted(found)


def start(asked, names, number):
    """A child process, and the end of a pipe with its report."""
    out, into = os.pipe()
    if os.fork() == 0:
        os.close(out)
        os.write(into, json.dumps(read(asked, names, number)).encode())
        os._exit(0)
    os.close(into)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mounted")
    parser.add_argument("truth")
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--lenient", action="store_true")
    parser.add_argument("--seed", default="")
    asked = parser.parse_args()
    names = names_below(asked.truth)
    print("reading", flush=True)
    pipes = [start(asked, names, number) for number in range(asked.processes)]
    told = [json.loads(os.fdopen(pipe, "rb").read() or b'{"files": 0, "wrong": ["died"]}') for pipe in pipes]
    wrong = [line for one in told for line in one["wrong"]]
    print(json.dumps({"files": [one["files"] for one in told], "wrong": wrong}))


if __name__ == "__main__":
    main()
