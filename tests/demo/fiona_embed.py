"""What pictures look like, as 64 numbers: a histogram of colours in four steps each, of the middle of the picture, as a unit vector."""

import math

from PIL import Image


def encode(file) -> list[float]:
    with file.open() as stream:
        picture = Image.open(stream).convert("RGB")
        width, height = picture.size
        picture = picture.crop((width // 5, height // 4, width * 4 // 5, height * 9 // 10)).resize((48, 48))
    counts = [0.0] * 64
    for red, green, blue in picture.getdata():
        counts[red // 64 * 16 + green // 64 * 4 + blue // 64] += 1
    length = math.sqrt(sum(count * count for count in counts))
    return [count / length for count in counts]
