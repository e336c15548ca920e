"""The chart through Helm's own code: linted, and rendered with the values that people set, each into a file of FOLDER for a schema to check.

    tests/packages/chart.py CHART FOLDER
"""

import sys
from pathlib import Path

import helm_python

WARNING = 2

VALUES = {
    "usual": {},
    "csi": {"csi": {"enabled": True}, "mount": {"enabled": False}},
    "fleet": {
        "catalog": {"address": "clickhouse://reader@db:8443/datachain?metastore=postgresql://reader@meta/datachain"},
        "credentialsSecret": "keys",
        "shared": {
            "prefix": "s3://team-cache/dcfs",
            "objects": True,
            "warm": [{"dataset": "pets"}, {"dataset": "team.prod.pets", "where": 'label = "a: b"', "options": ["--allow-uri=s3://"]}],
            "writer": {"address": "clickhouse://dcfs@db:8443/datachain?metastore=postgresql://dcfs@meta/datachain", "credentialsSecret": "writer"},
        },
    },
    "all": {
        "csi": {"enabled": True, "kubelet": "/var/lib/k0s/kubelet"},
        "image": {"repository": "registry.example/dcfs", "tag": "1.2.3"},
        "config": '["s3://bucket"]\nregion = "eu-central-1"\n',
        "shared": {"prefix": "s3://team-cache/dcfs", "warm": [{"dataset": "pets"}]},
        "credentialsSecret": "keys",
        "options": ["--allow-uri=s3://a b", '--region="x": {y}'],
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"operator": "Exists"}],
    },
}

REFUSED = {
    "shared.warm needs shared.prefix": {"shared": {"warm": [{"dataset": "pets"}]}},
    "config has a table [shared]": {"config": '[shared]\nprefix = "s3://a/b"\n', "shared": {"prefix": "s3://team-cache/dcfs"}},
}
"""Values that no chart can be made of, by what it says then."""


def refused(loaded, values):
    """What is said of values."""
    try:
        loaded.render(values, name="release", namespace="default", is_install=True)
    except Exception as error:
        return str(error)
    return "nothing"


def main(chart, folder):
    loaded = helm_python.Chart.load(chart)
    for name, values in VALUES.items():
        found = helm_python.lint(chart, values, strict=True)
        wrong = [message for message in found["messages"] if message["severity"] >= WARNING]
        assert not wrong and not found["errors"], f"{name}: {wrong} {found['errors']}"
        rendered = loaded.render(values, name="release", namespace="default", is_install=True)
        parts = [text for _, text in sorted(rendered.items()) if text.strip()]
        assert parts, f"{name}: nothing is rendered"
        assert "emptyDir" not in "".join(parts), f"{name}: everybody may write into one, and such a cache is refused"
        Path(folder, f"{name}.yaml").write_text("\n---\n".join(parts))
    for why, values in REFUSED.items():
        said = refused(loaded, values)
        assert why in said, f"{values}: {said}"


main(*sys.argv[1:])
