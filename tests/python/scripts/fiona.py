"""DataChain's own chain for the task of its README, over what `tests/demo/fiona` saved: the top 3, one JSON line."""

import json

import datachain as dc
from datachain import C, func

(fiona,) = dc.read_dataset("fiona_emb").to_values("emb")
masks = dc.read_dataset("masks").mutate(stem=func.path.file_stem(C("file.path"))).select("stem")
breeds = dc.read_dataset("breeds").filter(C("species") == 2).select("name")
found = (
    dc.read_dataset("pets_emb")
    .filter(C("info.width") > 400, ~C("breed").like("%cocker_spaniel%"))
    .mutate(stem=func.path.file_stem(C("file.path")), distance=func.cosine_distance("emb", fiona))
    .merge(masks, on="stem", inner=True)
    .merge(breeds, on="stem", right_on="name", inner=True)
    .order_by("distance")
    .limit(3)
    .to_list("stem", "breed", "distance")
)
print(json.dumps(found))
