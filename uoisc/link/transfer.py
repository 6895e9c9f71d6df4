"""Images to .uoi files and back, with what a user is told about it: the commands `encode` and `decode`."""

import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import TextIO

from uoisc.base.config import DIAL, load_params, profile_names
from uoisc.base.errors import ConfigError, DataError, choices
from uoisc.base.outputs import STREAM, check_outputs, existing, is_plain, naming, opened, shown, write
from uoisc.base.settings import Pretrained
from uoisc.base.terminal import bar, say, show
from uoisc.data.images import Picture, check_suffix, image_bytes, read_image
from uoisc.data.objects import load_catalogue
from uoisc.data.question_types import Words, query_words
from uoisc.judge.evaluation import uses_query
from uoisc.link import bitstream
from uoisc.link.bitstream import BitstreamError, Held, SharedModel
from uoisc.link.header import parse, read_file
from uoisc.link.tables import shared_model
from uoisc.study import Study, homes, open_codecs


@dataclass(frozen=True)
class Files:
    """Inputs, and their outputs: `output` itself for one, a folder of files for several; and earlier files of the same
    picture, in their order, that both ends hold (`after`).

    Outputs that are there are refused, replaced if `force`, left as they are if `no_clobber`.
    """

    inputs: list[str]
    output: str
    force: bool = False
    no_clobber: bool = False
    after: Sequence[str] = ()

    def pairs(self, suffix: str) -> list[tuple[str, str]]:
        """Each input with where its output goes, less those that --no-clobber skips.

        Raises DataError where that is unclear or a file would be destroyed, ConfigError where both options are given.
        """
        if self.force and self.no_clobber:
            raise ConfigError("--force replaces files and --no-clobber keeps them: give one of both")
        inputs = self.inputs
        output = self.output
        folder = os.path.isdir(self.output)
        if not output:
            raise DataError("-o: empty; give a file, a folder, or - for standard output")
        if output.endswith(os.sep) and not folder:
            raise DataError(f"{shown(output)}: no such folder, make it first")
        if len(inputs) > 1 and not folder:
            raise DataError(f"{shown(output)}: {len(inputs)} inputs need a folder that is there, give one by -o")
        stems = ["stdin" if name == STREAM else Path(name).stem for name in inputs]
        names = [os.path.join(output, stem + suffix) if folder else output for stem in stems]
        check_outputs(names, [*inputs, *self.after], self.force or self.no_clobber)
        if kept := existing(names) if self.no_clobber else []:
            say(f"{len(kept)} of {len(names)} outputs exist and are left as they are", sys.stderr)
        return [(source, name) for source, name in zip(inputs, names, strict=True) if name not in kept]

    @cached_property
    def before(self) -> list[bytes]:
        """The earlier files' bytes, read once: one may be a stream."""
        found = []
        for name in self.after:
            with naming(name):
                found.append(read_file(name))
        return found

    def held(self, model: SharedModel, compact: bool) -> Held | None:
        """What the files hold that these are after. Raises BitstreamError, which names the one that does not fit."""
        found = None
        for name, data in zip(self.after, self.before, strict=True):
            with naming(name):
                if (parse(data).fingerprint is None) is not compact:
                    raise BitstreamError("of another form: all files about a picture are compact, or none is")
                found = bitstream.hold(data, model, found)
        return found


def encode(
    files: Files, query: str, profile: str, variant: str, bits: float | None, compact: bool, as_json: bool = False
) -> None:
    """Writes each image's message as a file; says of each what it cost, on standard error, as JSON where asked.

    With several images, those that cannot be sent are reported and skipped; a final DataError counts them.
    Raises BitstreamError, ConfigError, DataError or QueryError, one line each; nothing half-written is left.
    """
    pairs = files.pairs(".uoi")
    if not pairs:
        return
    if files.after and len(files.inputs) > 1:
        raise ConfigError("--after: files are about one picture, give one image")
    study = open_codecs(profile)
    side = study.params.data.image_size
    model = model_within(study, variant, bits)
    tell_unknown(study, query)
    if not uses_query(model.codec):
        say(f"{variant} sends the same for any query", sys.stderr)
    held = files.held(model, compact)

    def send(image: str, name: str) -> str:
        picture = read_picture(image, side)
        message, used = model.message(picture.x, query, held, bits)
        with naming(image):
            data = bitstream.write(message, used, None if compact else picture.size, held)
        write(data, name, files.force)
        bits_in_all = None if held else used.codec.bits  # what a following file adds costs less
        sent = {"image": image, "file": name, "size": picture.size, "variant": variant, "bits": bits_in_all}
        sent |= {"bytes": len(data), "payload_bytes": len(parse(data).payload)}
        if as_json:
            return json.dumps(sent)
        resized = "" if picture.size == (side, side) else f", resized to {side} x {side}"
        nominal = f"{used.codec.bits:g} bits before entropy coding{', less what the receiver holds' if held else ''}"
        return (
            f"{shown(image)}: {picture.size[0]} x {picture.size[1]} pixels{resized}; {len(data)} bytes, of which "
            f"{sent['payload_bytes']} payload ({nominal})"
        )

    _each(pairs, send, "images", "sent", tell=show if as_json else say)


def decode(files: Files, profile: str, variant: str | None, bits: float | None, query: str | None) -> None:
    """Draws each file's image at the size of the image that it was made of; several into a folder, as PNG.

    Args:
        profile: where a file's model is looked for first; then in all others.
        variant, bits: of the compact form alone, which does not say them.
        query: of variants whose receiver reads it alone; the one of `encode`, or another picture is drawn.

    Raises BitstreamError where a file is broken or no trained model here wrote it, ConfigError for options that would
    not be read.
    """
    pairs = files.pairs(".png")
    for _, name in pairs[:1]:
        suffix_of(name)  # before any work
    if bits is not None and variant is None:
        raise ConfigError("--bits: a file says it itself, and of a compact one it is read with --variant: give both")
    written_by = cache(partial(writer, profile))
    named = cache(lambda: model_within(open_codecs(profile), variant, bits))

    def draw(file: str, name: str) -> str:
        with naming(file):
            data = read_file(file)
            fingerprint = parse(data).fingerprint  # None in the compact form
            if fingerprint and variant is not None:
                raise BitstreamError("says itself which model wrote it: leave --variant and --bits out")
            if not fingerprint and variant is None:
                which = "the compact form does not say which model wrote it"
                raise BitstreamError(f"{which}: give --variant, and --bits as then")
            model = written_by(fingerprint) if fingerprint else named()
        held = files.held(model, compact=not fingerprint)
        with naming(file):
            message, size = bitstream.read(data, model, held)
        asked = [_asked(model.codec.receiver_reads, query)]
        x_hat = model.trained.decode(message, asked, held.message) if held else model.codec.decode(message, asked)
        with naming(name):
            write(image_bytes(x_hat, suffix_of(name), size), name, files.force)
        return f"{shown(file)}: drawn" if len(pairs) > 1 else ""

    _each(pairs, draw, "files", "drawn")


def tell_unknown(study: Study, query: str) -> None:
    """Says `unknown_words` on standard error."""
    if found := unknown_words(study, query):
        say(found, sys.stderr)


def unknown_words(study: Study, query: str) -> str:
    """Which words of a query the stand-ins have never read, in a line; "" where none, or of others' models.

    CLIP reads capitals as small letters and question marks apart, the judges as they stand.
    """
    if isinstance(study.params.foundation, Pretrained):
        return ""
    known = query_words(Words.of(load_catalogue(study.params.data.objects)))
    read = query if study.judges else query.lower().replace("?", " ")
    unknown = [word for word in dict.fromkeys(read.split()) if word not in known]
    told = "words that the stand-ins have never read, so that they mean nothing"
    return f"{told}: {', '.join(unknown)}" if unknown else ""


def model_within(study: Study, variant: str, bits: float | None) -> SharedModel:
    """The variant's model, tables included, of the most bits that are at most `bits`; of the most where None.

    Raises ConfigError where the variant is not trained or the bits are too few.
    """
    if bits is not None and not bits > 0:
        raise ConfigError(f"--bits {bits:g}: must be above 0")
    rates = study.params.variants.get(variant)
    if rates is None:
        raise ConfigError(f"no variant {variant!r} is trained: {choices(variant, study.params.variants)}")
    if DIAL in rates:
        return shared_model(study, variant, DIAL).within(max(study.params.codec.dial.budgets) if bits is None else bits)
    costs = {rate: study.build(variant, rate).bits for rate in rates}
    fitting = [rate for rate in rates if bits is None or costs[rate] <= bits]
    if not fitting:
        raise ConfigError(f"{bits:g} bits are too few for {variant}: its cheapest rate costs {min(costs.values()):g}")
    return shared_model(study, variant, max(fitting, key=costs.get))


def writer(profile: str, fingerprint: bytes) -> SharedModel:
    """The model of that fingerprint, of this profile or else of any that is here: trained here, or published.

    Raises BitstreamError where there is none, which says what of the models here lacks its tables.
    """
    trained = False
    lacking: Counter[str] = Counter()
    for name in dict.fromkeys([profile, *profile_names()]):
        try:
            variants = load_params(name).variants
        except ConfigError:
            if name == profile:
                raise
            continue
        rates = [(variant, rate) for variant, rates in variants.items() for rate in rates]
        for home, (variant, rate) in product(homes(name), rates):
            codec = home.codec(2, variant, rate)
            tables = home.table(variant, rate)
            if not codec.is_file():
                continue
            trained = True
            if not tables.is_file():
                lacking[name] += 1
            elif bitstream.fingerprint(codec, tables) == fingerprint:
                if name != profile:
                    say(f"drawn by {variant} of profile {name}", sys.stderr)
                return shared_model(open_codecs(name, home=home), variant, rate)
    here = "which is none of those here"
    none = "and none is trained here: run `make repro`, or copy data/ of who wrote it"
    lines = [f"written with model {fingerprint.hex()}, {here if trained else none}"]
    for name, count in lacking.items():
        lines.append(f"of profile {name} {count} lack their tables: run `uoisc run 08_rate --profile {name}`")
    raise BitstreamError("; ".join(lines))


def suffix_of(output: str) -> str:
    """The kind of image that an output is; PNG for a stream without a suffix. Raises DataError where there is none."""
    suffix = Path(output).suffix
    if not suffix and not is_plain(output):
        suffix = ".png"
    with naming(output):
        check_suffix(suffix)
    return suffix


def beside(output: str | None) -> TextIO:
    """Where lines go beside an output: to standard error where that is a stream."""
    return sys.stdout if output is None or is_plain(output) else sys.stderr


def _each(pairs: list[tuple[str, str]], job: Callable[[str, str], str], things: str, done: str, tell=say) -> None:
    """`job` for each input and output, whose line is told. Of several those that fail are told, left out, and counted
    by a DataError."""
    failed = []
    for source, name in bar(pairs) if len(pairs) > 1 else pairs:
        try:
            if line := job(source, name):
                tell(line, sys.stderr)
        except (DataError, BitstreamError) as error:
            if len(pairs) == 1:
                raise
            failed.append(source)
            show(f"left out: {error}", sys.stderr)
    if failed:
        others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        rest = f"the others are {done}" if len(failed) < len(pairs) else f"none is {done}"
        raise DataError(f"{len(failed)} of {len(pairs)} {things} were left out ({shown(failed[0])}{others}); {rest}")


def read_picture(name: str, side: int) -> Picture:
    """An image; what is no plain file is read whole first, as a pipe cannot be sought. Says what is worth knowing."""
    with naming(name):
        plain = name != STREAM and os.path.isfile(name)
        picture = read_image(Path(name) if plain else io.BytesIO(opened(name).read()), side)
    for note in picture.notes:
        say(f"{shown(name)}: {note}", sys.stderr)
    return picture


def _asked(reads: bool, query: str | None) -> str:
    """What a receiver is given as the query. Raises ConfigError where it reads one and has none, or the reverse."""
    if query is None and reads:
        raise ConfigError("this variant's receiver reads the query: give --query")
    if query is not None and not reads:
        raise ConfigError("--query: this variant's receiver does not read it, leave it out")
    return "anything" if query is None else query
