"""How long numpy takes to find the nearest rows: `nearest.py DATABASE NUMBER ROW...`.

The vectors are a matrix of 32-bit floats in memory and their norms are known before the clock starts. Prints JSON: the
median of milliseconds, and for each ROW the names of the NUMBER nearest files, by distances in 64-bit floats.
"""

import json
import sqlite3
import statistics
import sys
import time

import numpy

database, number, *rows = sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:])
connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
cells = connection.execute("SELECT emb FROM ds_local_local_bench_1_0_0 ORDER BY sys__id")
vectors = numpy.array([numpy.fromstring(cell[1:-1], numpy.float32, sep=",") for (cell,) in cells])
norms = numpy.linalg.norm(vectors, axis=1)


def nearest(row):
    """Indexes of the nearest rows, nearest first."""
    vector = vectors[row - 1]
    distances = 1 - vectors @ vector / (norms * numpy.linalg.norm(vector))
    some = numpy.argpartition(distances, 4 * number)[: 4 * number]
    return exact(vector, some)[:number]


def exact(vector, some):
    """Some rows in the order of their distances in 64-bit floats."""
    vector, others = vector.astype(float), vectors[some].astype(float)
    distances = 1 - others @ vector / numpy.sqrt((others * others).sum(axis=1) * (vector @ vector))
    return some[numpy.lexsort((some, distances))]


def timed(row):
    since = time.perf_counter()
    found = nearest(row)
    return (time.perf_counter() - since) * 1000, found


def file(index):
    query = "SELECT file__path FROM ds_local_local_bench_1_0_0 WHERE sys__id = ?"
    return connection.execute(query, (int(index) + 1,)).fetchone()[0].rsplit("/", 1)[-1]


timed(1)
answers = [timed(row) for row in rows]
print(
    json.dumps(
        {
            "milliseconds": statistics.median(took for took, _ in answers),
            "files": [[file(index) for index in found] for _, found in answers],
        }
    )
)
