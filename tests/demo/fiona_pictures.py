"""A folder of the shape of DataChain's `oxford-pets-micro`: pictures, trimaps for some, an annotation list, and fiona.jpg.

    fiona_pictures.py FOLDER

Pictures are coats: every breed has two colours and a pattern of its own, and each animal differs a little from its breed.
The same bytes each time.
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

# Name, species (1 cat, 2 dog), the colours of the coat.
BREEDS = [
    ("Abyssinian", 1, (150, 100, 60), (120, 80, 50)),
    ("Bombay", 1, (25, 25, 30), (60, 55, 60)),
    ("Ragdoll", 1, (225, 215, 200), (120, 100, 90)),
    ("american_bulldog", 2, (235, 230, 225), (150, 110, 80)),
    ("beagle", 2, (155, 95, 30), (235, 230, 220)),
    ("english_cocker_spaniel", 2, (165, 95, 45), (150, 85, 40)),
    ("pug", 2, (200, 165, 120), (50, 40, 40)),
    ("shiba_inu", 2, (215, 110, 40), (230, 215, 205)),
]
EACH = 6


def coat(draw, first, second, width, height):
    """A picture: sky, ground, an animal of two colours."""
    picture = Image.new("RGB", (width, height), (150, 175, 200))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, height * 2 // 3, width, height), fill=(95, 125, 75))
    near = lambda colour: tuple(min(255, max(0, part + draw.randint(-6, 6))) for part in colour)
    body = (width // 6, height // 4, width * 5 // 6, height * 9 // 10)
    pen.ellipse(body, fill=near(first))
    for _ in range(5):
        x, y = draw.randint(body[0], body[2] - width // 5), draw.randint(body[1], body[3] - height // 4)
        pen.ellipse((x, y, x + width // 5, y + height // 5), fill=near(second))
    return picture, body


def main():
    folder = Path(sys.argv[1])
    images, trimaps = folder / "images", folder / "annotations" / "trimaps"
    images.mkdir(parents=True)
    trimaps.mkdir(parents=True)
    draw = random.Random(7)
    lines = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog"]
    for number, (breed, species, first, second) in enumerate(BREEDS, start=1):
        for animal in range(1, EACH + 1):
            # One in three is too narrow for the question, one in three has no mask.
            width, height = (360, 300) if animal % 3 == 1 else (500, 375)
            picture, body = coat(draw, first, second, width, height)
            name = f"{breed}_{animal}"
            picture.save(images / f"{name}.jpg", quality=90)
            if animal % 3 != 2 or animal == 2:
                mask = Image.new("L", (width, height), 2)
                ImageDraw.Draw(mask).ellipse(body, fill=1)
                mask.save(trimaps / f"{name}.png")
            lines.append(f"{name} {number} {species} {number}")
    (folder / "annotations" / "list.txt").write_text("\n".join(lines) + "\n")
    fiona, _ = coat(draw, (213, 112, 42), (228, 213, 207), 500, 375)
    fiona.save(folder / "fiona.jpg", quality=90)


if __name__ == "__main__":
    main()
