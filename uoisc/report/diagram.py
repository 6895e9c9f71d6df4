"""The system diagram, drawn by code: our own drawing of the method that the paper's figure 1 describes."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from uoisc.report.figures import BLUE, GREEN, GREY, PAGE, styled

HEIGHT = 3.0  # inches; the axes' unit is the inch, so that sizes below are print sizes
LANES = {"1": 2.02, "2": 1.62, "M_S": 1.02}  # vertical place of the shallowest, the second and the deepest tap
MIDDLE = (LANES["1"] + LANES["M_S"]) / 2
FROZEN = ("#DCEAF5", BLUE)  # face and edge of a box
TRAINED = ("#FBEBD0", "#B36B00")
PLAIN = ("white", "#555555")
TEXT = {"ha": "center", "va": "center", "fontsize": 7, "linespacing": 1.15}


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, text: str, look: tuple = PLAIN, rotation: int = 0
) -> None:
    """A box around (x, y), its left edge and its vertical middle."""
    style = dict(boxstyle="round,pad=0,rounding_size=0.04", facecolor=look[0], edgecolor=look[1], linewidth=0.8)
    axes.add_patch(FancyBboxPatch((x, y - height / 2), width, height, **style, zorder=3))
    axes.text(x + width / 2, y, text, rotation=rotation, zorder=4, **TEXT)


def _arrow(axes: Axes, *points: tuple[float, float], colour: str = "black") -> None:
    """A line through points with a head at the last one."""
    if len(points) > 2:
        axes.plot(*zip(*points[:-1], strict=True), color=colour, linewidth=0.8, zorder=2, solid_capstyle="butt")
    head = dict(arrowstyle="-|>", mutation_scale=6, linewidth=0.8, shrinkA=0, shrinkB=0, color=colour, zorder=2.5)
    axes.add_patch(FancyArrowPatch(points[-2], points[-1], **head))


def _frame(axes: Axes, x: float, width: float, title: str) -> None:
    axes.add_patch(Rectangle((x, 0.64), width, 2.32, fill=False, edgecolor=GREY, linestyle=(0, (4, 3)), linewidth=0.7))
    axes.text(x + width - 0.06, 2.88, title, ha="right", va="center", fontsize=7.5, color="#444444", style="italic")


def _transmitter(axes: Axes) -> None:
    _box(axes, 0.06, MIDDLE, 0.46, 0.46, "image\n$x$")
    _box(axes, 0.06, 2.66, 0.46, 0.34, "query\n$q$")
    _box(axes, 0.84, MIDDLE, 0.42, 1.36, "CLIP vision transformer", FROZEN, rotation=90)
    _box(axes, 0.84, 2.66, 0.86, 0.34, "CLIP text\ntransformer", FROZEN)
    _box(axes, 1.92, 2.66, 0.62, 0.34, "text\nprojection", TRAINED)
    _arrow(axes, (0.52, MIDDLE), (0.84, MIDDLE))
    _arrow(axes, (0.52, 2.66), (0.84, 2.66))
    _arrow(axes, (1.70, 2.66), (1.92, 2.66))
    bus = 2.09  # the query's vector t passes down between the projections and the FiLM layers
    axes.plot([bus, bus], [2.49, LANES["M_S"] + 0.06], color=GREEN, linewidth=0.8, zorder=2)
    axes.text(bus + 0.08, 2.36, "$t$", **TEXT)
    for name, y in LANES.items():
        _box(axes, 1.60, y, 0.38, 0.26, f"$\\mathrm{{IP}}_{{{name}}}$", TRAINED)
        _box(axes, 2.24, y, 0.52, 0.26, f"$\\mathrm{{FiLM}}_{{{name}}}$", TRAINED)
        _arrow(axes, (1.26, y), (1.60, y))
        axes.text(1.42, y + 0.09, f"$h_{{{name}}}$", **TEXT)
        _arrow(axes, (1.98, y - 0.06), (2.24, y - 0.06))
        _arrow(axes, (bus, y + 0.06), (2.24, y + 0.06), colour=GREEN)
        _arrow(axes, (2.76, y), (3.06, y))
        axes.text(2.90, y + 0.09, f"$f_{{{name}}}$", **TEXT)
    axes.text(1.79, 1.32, "$\\vdots$", **TEXT)
    axes.text(2.50, 1.32, "$\\vdots$", **TEXT)
    text = "segments\n$1 \\ldots G$\n\nnearest of\n$K$ codes\nin each\ncodebook"
    _box(axes, 3.06, MIDDLE, 0.62, 1.36, text, TRAINED)


def _link_and_receiver(axes: Axes) -> None:
    _box(axes, 3.98, MIDDLE, 0.46, 0.62, "link", PLAIN)
    _arrow(axes, (3.68, MIDDLE), (3.98, MIDDLE))
    _arrow(axes, (4.44, MIDDLE), (4.76, MIDDLE))
    axes.text(4.21, MIDDLE + 0.66, "indices $i$,\n$M_S\\,N\\,G\\,\\log_2 K$\nbits", **TEXT)
    _box(axes, 4.76, MIDDLE, 0.40, 1.36, "codes to token maps", TRAINED, rotation=90)
    deep = LANES["M_S"]
    stages = (5.36, 5.92, 6.48)
    for x, size in zip(stages, (0.30, 0.38, 0.46), strict=True):
        _box(axes, x, deep, 0.32, size, "conv\n×2" if x < 6.4 else "conv\nhead", TRAINED)
    _arrow(axes, (5.16, deep), (5.36, deep))
    for left, right, lane in ((5.68, 5.92, "2"), (6.24, 6.48, "1")):
        centre = (left + right) / 2 - 0.02
        axes.plot([left, centre], [deep, deep], color="black", linewidth=0.8, zorder=2)
        _arrow(axes, (centre, deep), (right, deep))
        axes.add_patch(Circle((centre, deep), 0.055, facecolor="white", edgecolor="black", linewidth=0.7, zorder=3))
        axes.plot([centre - 0.03, centre + 0.03], [deep, deep], color="black", linewidth=0.7, zorder=4)
        axes.plot([centre, centre], [deep - 0.03, deep + 0.03], color="black", linewidth=0.7, zorder=4)
        _arrow(axes, (5.16, LANES[lane]), (centre, LANES[lane]), (centre, deep + 0.055))
    axes.text(5.50, LANES["1"] + 0.09, "tap 1", **TEXT)
    axes.text(5.50, LANES["2"] + 0.09, "tap 2", **TEXT)
    axes.text(6.50, 2.42, "shallower taps: upscaled,\nthen concatenated (+)", **TEXT)
    _arrow(axes, (6.80, deep), (6.92, deep), (6.92, 1.44))
    _box(axes, 6.70, 1.67, 0.40, 0.46, "image\n$\\hat{x}$")


def _judge(axes: Axes) -> None:
    asked = "LLaVA with the query, once on $x$ and once on $\\hat{x}$"
    used = "hidden states: user-intent relevance loss;  answers: answer match rate"
    _box(axes, 1.60, 0.28, 4.02, 0.42, f"{asked}\n{used}", FROZEN)
    _arrow(axes, (0.29, MIDDLE - 0.23), (0.29, 0.28), (1.60, 0.28))
    _arrow(axes, (7.02, 1.44), (7.02, 0.28), (5.62, 0.28))
    for x, look, text in ((0.40, FROZEN, "frozen"), (0.86, TRAINED, "trained")):
        axes.add_patch(Rectangle((x, 0.06), 0.1, 0.1, facecolor=look[0], edgecolor=look[1], linewidth=0.8))
        axes.text(x + 0.13, 0.105, text, ha="left", va="center", fontsize=7)


@styled
def system_diagram() -> Figure:
    """Transmitter, link and receiver of UO-ISC, and where LLaVA measures what the user asked for."""
    figure = Figure(figsize=(PAGE, HEIGHT))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, PAGE), ylim=(0, HEIGHT))
    axes.set_axis_off()
    _frame(axes, 0.67, 3.10, "transmitter")
    _frame(axes, 4.64, 2.50, "receiver")
    _transmitter(axes)
    _link_and_receiver(axes)
    _judge(axes)
    return figure
