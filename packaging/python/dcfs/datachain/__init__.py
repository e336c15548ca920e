"""DataChain on the catalogs of `dcfs` on servers: names in PostgreSQL, rows in ClickHouse.

    pip install 'dcfs[datachain]'
    export CATALOG='clickhouse://me@db.internal/datachain?metastore=postgresql://me@meta.internal/datachain'
    export DATACHAIN_METASTORE=dcfs.datachain.Metastore DATACHAIN_METASTORE_ARG_URI="$CATALOG"
    export DATACHAIN_WAREHOUSE=dcfs.datachain.Warehouse DATACHAIN_WAREHOUSE_ARG_URI="$CATALOG"
    export CLICKHOUSE_PASSWORD=... PGPASSWORD=...
"""

from .metastore import Metastore
from .warehouse import Warehouse

__all__ = ["Metastore", "Warehouse"]
