"""Where a photograph shows what a question asks about: in the boxes of the things that the question names.

    "Is the woman on her bike?" --Names--> person, bicycle --their boxes in the image--> region --tokens_in--> tokens

A box is (left, top, right, bottom) in shares, 0 to 1, of the width and height of the image as it looks: so it holds for
the square that an image is squashed to as well. A question that names nothing with a box has no region: nobody knows
where its answer lies. Source: ours. Boxes, not outlines: questions also ask what is on, behind or next to a thing.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

Box = tuple[float, float, float, float]

OVERHANG = 0.01  # of a side: annotators' boxes may reach so far out of the image, and are cut off there
ALSO = {  # what people call COCO's categories beside their names; regular plurals are added
    "person": "people man men woman women boy girl child children kid baby babies toddler guy lady player skier "
    "snowboarder skateboarder surfer rider batter catcher pitcher umpire spectator pedestrian",
    **{"bicycle": "bike", "motorcycle": "motorbike", "airplane": "plane aeroplane jet aircraft", "bus": "busses"},
    **{"boat": "ship sailboat", "traffic light": "traffic_signal stoplight", "fire hydrant": "hydrant"},
    **{"dog": "puppy", "cat": "kitten", "horse": "pony", "cow": "bull cattle", "sheep": "lamb", "bear": "bear_cub"},
    **{"handbag": "purse", "tie": "necktie", "suitcase": "luggage", "skis": "ski", "sports ball": "ball"},
    **{"baseball bat": "bat", "baseball glove": "glove mitt", "tennis racket": "racket racquet tennis_racquet"},
    **{"wine glass": "wineglass", "cup": "mug", "knife": "knives", "donut": "doughnut", "couch": "sofa"},
    **{"potted plant": "plant", "dining table": "table", "tv": "television", "laptop": "laptop_computer"},
    **{"mouse": "computer_mouse mice", "cell phone": "phone mobile_phone", "oven": "stove", "refrigerator": "fridge"},
    **{"scissors": "scissor", "teddy bear": "teddy stuffed_animal", "hair drier": "hair_dryer blow_dryer"},
}


class Names:
    """Finds the categories that a text names: whole words, the longest first ("hot dog" is no dog).

    Args:
        numbers: of the categories, by name.
    """

    def __init__(self, numbers: dict[str, int]):
        self.number: dict[str, int] = {}
        for name, number in numbers.items():
            for word in (name, *(also.replace("_", " ") for also in ALSO.get(name, "").split())):
                for form in (word, f"{word}s", f"{word}es", f"{word.removesuffix('y')}ies"):
                    self.number.setdefault(form.lower(), number)
        longest = sorted(self.number, key=len, reverse=True)
        self.pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest))})\b")

    def __call__(self, text: str) -> set[int]:
        """The numbers of the categories that it names."""
        return {self.number[word] for word in self.pattern.findall(" ".join(re.split(r"[\s-]+", text.lower())))}


def box_of(left: float, top: float, right: float, bottom: float) -> Box | None:
    """The box within the image; None where these are no box in it."""
    for low, high in ((left, right), (top, bottom)):
        if not -OVERHANG <= low <= high <= 1 + OVERHANG:  # nan neither
            return None
    return tuple(min(max(share, 0.0), 1.0) for share in (left, top, right, bottom))


def tokens_in(boxes: Sequence[Box], side: int) -> Bool[np.ndarray, "side side"]:
    """Which of side x side tokens have their centres in one of the boxes; a box holds at least that of its own."""
    grid = np.zeros((side, side), dtype=bool)
    for left, top, right, bottom in boxes:
        grid[_lines(top, bottom, side), _lines(left, right, side)] = True
    return grid


def _lines(low: float, high: float, side: int) -> slice:
    """The lines of tokens whose centres lie between two shares of the image; at least the one at their middle."""
    first, end = (math.ceil(share * side - 0.5) for share in (low, high))
    if first >= end:
        first = min(int((low + high) / 2 * side), side - 1)
        end = first + 1
    return slice(first, end)
