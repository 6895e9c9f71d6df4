"""Two rate curves as one number: how many more bytes the second one takes for the same quality."""

from collections.abc import Sequence

import numpy as np

from uoisc.rivals.standard_codecs import CodecError, library

LEAST_POINTS = 4  # of a curve (VCEG-M33)


def bd_rate(reference_curve: Sequence | np.ndarray, curve: Sequence | np.ndarray) -> float:
    """Mean rate difference in percent at equal quality; negative where `curve` needs fewer bytes.

    Bjontegaard (VCEG-M33) with pchip interpolation, as JVET's test conditions, over the qualities that both reach: it
    never leaves the range of its points, as cubics and Akima do where a curve saturates.

    Args:
        reference_curve, curve: four or more points (rate > 0, quality metric: higher is better), in any order.
    Raises CodecError for fewer points, equal qualities in a curve, or curves that share no quality.
    """
    bjontegaard = library("bjontegaard", "bjontegaard")
    curves = [_rising(points) for points in (reference_curve, curve)]
    (reference_rate, reference), (rate, metric) = curves
    if max(reference[0], metric[0]) >= min(reference[-1], metric[-1]):
        ranges = [f"[{span[0]:g}, {span[-1]:g}]" for span in (reference, metric)]
        raise CodecError(f"the curves share no quality: {ranges[0]} and {ranges[1]}; sweep further")
    return float(bjontegaard.bd_rate(reference_rate, reference, rate, metric, "pchip", False, min_overlap=0))


def _rising(points: Sequence | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rates and qualities of a curve, the worst quality first; CodecError as `bd_rate` says."""
    points = np.array(points, dtype=float)
    if points.shape != (len(points), 2) or len(points) < LEAST_POINTS or not np.isfinite(points).all():
        raise CodecError(f"a rate curve is {LEAST_POINTS} or more finite points (rate, quality)")
    rate, metric = points[points[:, 1].argsort()].T
    if (rate <= 0).any() or (np.diff(metric) <= 0).any():
        raise CodecError("a rate curve needs rates above 0 and a different quality at each point")
    return rate, metric
