"""Log-log ROC curves: what happens at few false positives, where an attack is worth something."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from attacks.errors import AttackError
from attacks.roc import RocCurve, area

FLOOR = 1e-3
"""Rates below this are drawn at it; a logarithm has no zero."""


def roc_figure(curves: Mapping[str, RocCurve]) -> Figure:
    """All curves on one pair of logarithmic axes, with the diagonal of pure guessing.

    Raises: AttackError if there is no curve.
    Source: Carlini et al. 2022, figure 2.
    """
    if not curves:
        raise AttackError("a figure needs at least one curve")
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        false, true = curve.false_positive_rate.clip(min=FLOOR), curve.true_positive_rate.clip(min=FLOOR)
        axes.step(false, true, where="post", label=f"{name}, AUC {area(curve):.3f}")
    axes.plot([FLOOR, 1], [FLOOR, 1], color="0.6", linestyle="--", label="guessing")
    axes.set(xscale="log", yscale="log", xlim=(FLOOR, 1), ylim=(FLOOR, 1))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
        axis.set_minor_formatter(NullFormatter())
    axes.legend(loc="lower right", fontsize="small", framealpha=0.8)
    return figure
