"""The table of `docs/calibration.md`."""

from __future__ import annotations

from page_parts import read, section


def calibration() -> str:
    """What calibrating is worth."""
    data = read("calibration")
    coverages = [name for name in next(iter(data["rows"].values())) if name.startswith("0.")]
    heads = ["", "temperature", "log loss", "calibrated", "calibration error", "calibrated"]
    heads += [f"sets of {float(c):.0%} hold" for c in coverages] + ["classes a set (90%)"]
    rows = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, found in data["rows"].items():
        cells = [name, f"{found['temperature']:.2f}", f"{found['log_loss']:.3f}", f"{found['log_loss_after']:.3f}"]
        cells += [f"{found['error']:.3f}", f"{found['error_after']:.3f}"]
        cells += [f"{100 * found[c]['covered']:.1f} ± {196 * found[c]['error']:.1f} %" for c in coverages]
        rows.append("| " + " | ".join([*cells, f"{found['0.9']['size']:.2f}"]) + " |")
    return section(rows, data, "± is the 95 % interval over the draws.")
