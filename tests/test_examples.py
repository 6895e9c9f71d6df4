"""What the visual comparison shows: the panels of one query, and JPEG 2000 at the bytes of a real file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import tiny

from uoisc.evaluation import SPLITS, evaluation_scenes
from uoisc.examples import SHOWN, make_examples
from uoisc.images import to_bytes
from uoisc.models import JUDGES
from uoisc.pictures import PANELS
from uoisc.standard_codecs import JPEG2000


def test_jpeg2000_shows_the_smallest_file_with_its_real_size():
    variants = {name: ("low",) for name in (*PANELS[1:-1], "adaptive")}
    study = replace(tiny.study(), params=replace(tiny.PARAMS, variants=variants))
    asked = {split: evaluation_scenes(study, split) for split in SPLITS}
    rows = [(JUDGES[0], split, i, query.type, True) for split in SPLITS for i, query in enumerate(asked[split].queries)]
    answers = pd.DataFrame(rows, columns=["judge", "split", "query_id", "type", "source_right"])
    examples = make_examples(study, answers)
    for row, (split, kind), source, shown in zip(
        examples.rows, SHOWN, examples.images["source"], examples.images["jpeg2000"], strict=True
    ):
        assert (row["split"], row["type"]) == (split, kind)
        first = next(i for i, query in enumerate(asked[split].queries) if query.type == kind)
        assert row["query"] == asked[split].queries[first].text
        assert np.array_equal(source, to_bytes(study.world.render(asked[split].scenes[[first]]))[0])
        # a header alone is over the codecs' budget: the panel is the smallest file, and says so
        data = JPEG2000.encode(source, JPEG2000.qualities[0])
        assert np.array_equal(shown, JPEG2000.decode(data))
        assert row["panels"]["jpeg2000"]["bytes"] == len(data) > row["panels"]["uoisc"]["bytes"]
        assert row["panels"]["jpeg2000"]["bits"] == 8 * len(data)
