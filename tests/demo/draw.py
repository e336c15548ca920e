"""Draws the pets of the demo: a few dozen small images in class folders, and a mask for each.

    python draw.py FOLDER [PER_CLASS]

Writes FOLDER/images/<class>/<class>_<n>.jpg and FOLDER/masks/<class>/<class>_<n>.png. The pictures
depend on nothing but their class and number, so every run draws the same pixels.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

CLASSES = {
    "beagle": (176, 122, 68),
    "pug": (216, 186, 140),
    "shiba_inu": (222, 130, 60),
}


def face(number):
    """The corners of the head in picture `number`, and the picture's size: no two are alike."""
    width, height = 320 + 40 * (number % 6), 240 + 20 * (number % 4)
    left, top = 20 + 7 * number % 60, 15 + 5 * number % 40
    return (width, height), (left, top, width - 40, height - 20)


def picture(colour, number):
    """A head with two eyes and a nose on a plain ground."""
    size, head = face(number)
    image = Image.new("RGB", size, (90, 140 + 3 * number % 80, 90))
    draw = ImageDraw.Draw(image)
    draw.ellipse(head, fill=colour)
    middle, level = (head[0] + head[2]) // 2, (head[1] + head[3]) // 2
    for x in (middle - 40, middle + 40):
        draw.ellipse((x - 9, level - 40, x + 9, level - 22), fill=(20, 20, 20))
    draw.ellipse((middle - 14, level, middle + 14, level + 18), fill=(40, 30, 30))
    return image


def mask(number):
    """White where the head is."""
    size, head = face(number)
    image = Image.new("1", size)
    ImageDraw.Draw(image).ellipse(head, fill=1)
    return image


def draw(folder, per_class=12):
    """Writes every picture and its mask below `folder`."""
    for name, colour in CLASSES.items():
        images, masks = folder / "images" / name, folder / "masks" / name
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(1, per_class + 1):
            picture(colour, number).save(images / f"{name}_{number}.jpg", quality=85)
            mask(number).save(masks / f"{name}_{number}.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), *map(int, sys.argv[2:]))
