"""`python -m ddl_jax.data prepare`: any source as a checked TFDS data set, aligned if wanted."""

from collections.abc import Sequence

from absl import flags

from ddl_jax import config as config_lib
from ddl_jax.data import command, source_flags
from ddl_jax.errors import UserError


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data prepare --path=PATH --out=DIR [--name=NAME] [...]`

    Writes a source (a folder of faces by default, --source=... for others) as a few large files
    that training reads with --config.data.source=tfds, looks at every image, and reports what is
    wrong. --landmarks or --detector aligns photos. A stopped command goes on when given again.
    """
    values = flags.FlagValues()
    source_flags.define(values)
    _define(values)
    if not command.read_flags(argv, values, main.__doc__, "prepare"):
        return
    command.check_given(values, ("path", "out"), "prepare")
    print(_prepare(values))


def _define(values: flags.FlagValues) -> None:
    def text(name: str, default: str, meaning: str) -> None:
        flags.DEFINE_string(name, default, meaning, flag_values=values)

    def number(name: str, default: int, meaning: str) -> None:
        flags.DEFINE_integer(name, default, meaning, flag_values=values, lower_bound=0)

    def switch(name: str, meaning: str) -> None:
        flags.DEFINE_bool(name, False, meaning, flag_values=values)

    text("out", "", "A directory for data sets; this one goes to OUT/NAME/1.0.0.")
    text("name", "faces", "The data set's name.")
    number("workers", 0, "Processes; as many as there are cores.")
    number("images_per_shard", 10_000, "Images in a file.")
    switch("contact_sheet", "Draw samples and near duplicates beside the data; they show faces.")
    text("landmarks", "", "Five points a face, see docs/data.md: align by them.")
    text("detector", "", "The .onnx file of OpenCV's YuNet: align by the faces that it finds.")
    text("template", "arcface_112", "Where aligned landmarks stand; see docs/data.md.")
    flags.DEFINE_list("size", [], "HEIGHT,WIDTH of aligned faces.", flag_values=values)
    switch("antialias", "Average large faces down instead of reading every nth pixel.")
    text("encoding", "jpeg", "Of aligned faces: jpeg (quality 95) or png.")
    text("without_face", "leave_out", "Photos without a face: leave_out, fit or refuse.")


_OF_ALIGNMENT = ("template", "size", "antialias", "encoding", "without_face")


def _prepare(values: flags.FlagValues) -> str:
    """Prepares -> what to tell."""
    data = source_flags.read(values)
    if values.landmarks and values.detector:
        raise UserError("--landmarks and --detector both say where faces are; give one")
    for name in _OF_ALIGNMENT:
        if values[name].present and not (values.landmarks or values.detector):
            raise UserError(f"--{name} is for aligned faces; give --landmarks or --detector")
    if not values.images_per_shard:
        raise UserError("--images_per_shard is 0; use at least 1")
    # After the cheap checks: TFDS is slow to import.
    from ddl_jax.data import prepare
    from ddl_jax.data.open_source import open_source
    from ddl_jax.data.worker_pool import available_cores

    prepare.target(values.out, values.name)
    faces = _faces(values)
    source = open_source(data, config_lib.Synthetic())
    directory = prepare.prepare(
        source,
        values.out,
        values.name,
        faces=faces,
        corrupt=data.corrupt,
        images_per_shard=values.images_per_shard,
        workers=values.workers or available_cores(),
        contact_sheet=values.contact_sheet,
        origin={name: value for name, value in vars(data).items() if name in values},
    )
    report = (directory / "report.md").read_text()
    settings = config_lib.as_flags({"data.source": "tfds", "data.path": directory})
    return f"{report}\n{' '.join(settings)}"


def _faces(values: flags.FlagValues):
    """The alignment that is asked for, or None."""
    if not (values.landmarks or values.detector):
        return None
    from ddl_jax.data import survey
    from ddl_jax.data.face_cut import FaceCut
    from ddl_jax.data.face_detector import YuNet
    from ddl_jax.data.landmarks import read_landmarks
    from ddl_jax.data.prepare import Faces

    cut = FaceCut(values.template, _size(values.size), values.antialias, values.encoding)
    if values.landmarks:
        landmarks = read_landmarks(values.landmarks)
        finder = survey.FromFile(landmarks)
        origin = {"file": values.landmarks, "reading": landmarks.reading}
    else:
        finder, origin = survey.FromDetector(YuNet(values.detector)), {"detector": values.detector}
    return Faces(finder, cut, values.without_face, origin)


def _size(words: Sequence[str]) -> tuple[int, int] | None:
    if not words:
        return None
    if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
        raise UserError(f"--size is {','.join(words)!r}; give HEIGHT,WIDTH in pixels")
    return int(words[0]), int(words[1])
