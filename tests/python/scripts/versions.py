"""1.0.0, 1.0.1, one that is removed, and 2.0.0 with another schema."""

import datachain as dc
from datachain import C

images = dc.read_storage("data/images")
images.filter(C("file.path").glob("pug/*")).save("growing")
images.filter(C("file.path").glob("p*")).save("growing")
images.filter(C("file.path").glob("beagle/*")).save("growing")
images.mutate(twice=C("file.size") * 2).save("growing", update_version="major")
dc.delete_dataset("growing", version="1.0.2")
images.save("gone")
dc.delete_dataset("gone", version="1.0.0")
