"""Real DataChain with its metastore and warehouse on servers, by the package `dcfs.datachain`."""

import os

import datachain_runs
import servers


def environment(address):
    """The variables that select them."""
    paths = [str(servers.ROOT / "packaging/python"), os.environ.get("PYTHONPATH", "")]
    return {
        "DATACHAIN_METASTORE": "dcfs.datachain.Metastore",
        "DATACHAIN_METASTORE_ARG_URI": address,
        "DATACHAIN_WAREHOUSE": "dcfs.datachain.Warehouse",
        "DATACHAIN_WAREHOUSE_ARG_URI": address,
        "CLICKHOUSE_PASSWORD": servers.PASSWORD,
        "PGPASSWORD": servers.PASSWORD,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def run(name, folder, address, *arguments, **options):
    """Runs a script as `datachain_runs.run` does."""
    datachain_runs.run(name, folder, *arguments, environment=environment(address), **options)
