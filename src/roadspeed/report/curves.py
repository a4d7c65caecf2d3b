"""Training curves of all folds."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from roadspeed.errors import InputError
from roadspeed.files import read_table
from roadspeed.report.style import new_figure, save_figure


def draw_curves(metrics: Sequence[Path], out: Path) -> None:
    """Draw losses, Dice and learning rate over the epochs, one line a fold.

    Args:
        metrics: metrics.csv of every fold; the name of its folder names the fold.
        out: picture to write.

    Raises:
        InputError: a table has no epoch.
    """
    figure = new_figure(12, 4)
    panels = figure.subplots(1, 3)
    for index, path in enumerate(metrics):
        rows = read_table(path)
        if not rows:
            raise InputError(f"{path}: holds no epoch; train this fold again")
        epochs = [int(row["epoch"]) for row in rows]
        colour = f"C{index}"
        name = path.parent.name

        def values(column: str, rows: list[dict[str, str]] = rows) -> list[float]:
            return [float(row[column]) for row in rows]

        panels[0].plot(epochs, values("train_loss"), color=colour, linestyle="--", label=f"{name}, training")
        panels[0].plot(epochs, values("val_loss"), color=colour, label=f"{name}, validation")
        panels[1].plot(epochs, values("f1_roads"), color=colour, label=name)
        panels[2].plot(epochs, values("learning_rate"), color=colour, label=name)
    for axes, title in zip(panels, ("loss", "Dice of roads, validation", "learning rate"), strict=True):
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save_figure(figure, out)
