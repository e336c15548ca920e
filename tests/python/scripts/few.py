"""Nine tiny files in three folders, written and saved as `few`."""

from pathlib import Path

import datachain as dc

for folder in "abc":
    for number in range(3):
        path = Path("data") / folder / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{folder}{number}\n" * 10)

dc.read_storage("data").save("few")
