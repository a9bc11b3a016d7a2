"""The answer without a model: the neighbours vote, and the highest mode of their density is the position."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from img2loc.geo.areas import Area, holds
from img2loc.geo.sphere import EARTH_RADIUS_KM, FloatArray, arc_km, to_latlon, unit_vectors
from img2loc.types import LatLon, Neighbour, Vote

SIGMA_KM = 4.0  # width of the Gaussian on each neighbour
WEIGHT_POWER = 10
SAME_PICTURE = 1e-4  # squared distance below which two embeddings count as equal: they show the same picture
MEAN_SHIFT_STEPS = 100
MEAN_SHIFT_TOLERANCE = 1e-12  # squared chord on the unit sphere: about 6 m on the ground


def vote_weights(similarities: FloatArray) -> FloatArray:
    """Weight neighbours by their similarity, so that one clear match outweighs many vague ones.

    Args:
        similarities: (k,) cosines.

    Returns:
        (k,) positive weights that sum to 1: the squared distance of unit embeddings, 2 - 2 cos, to the power of -10.

    Source: Vo, Jacobs, Hays 2017, https://arxiv.org/abs/1705.04838; the power is that of the authors' released code
        (predict_gps.m, commit d9434770).
    """
    squared = np.maximum(2 - 2 * similarities, SAME_PICTURE)
    weights = (squared.min() / squared) ** WEIGHT_POWER
    return np.asarray(weights / weights.sum())


def vote(neighbours: Sequence[Neighbour], *, within: Area | None = None) -> Vote | None:
    """Find the highest mode of the neighbours' density, and the radius around it that holds half of the density.

    Args:
        neighbours: The nearest neighbours of a query; without any there is no vote.
        within: Where all neighbours lie, and so must the mode; None for anywhere.

    Source: [L]kNN of Vo, Jacobs, Hays 2017, https://arxiv.org/abs/1705.04838, with sigma = 4.
    """
    if not neighbours:
        return None
    mode = modes(neighbours, within=within)[0]
    points, weights = _points_and_weights(neighbours)
    radius_km = _half_mass_km(unit_vectors([mode])[0], points, weights)
    return Vote(mode, radius_km, len(neighbours))


def modes(neighbours: Sequence[Neighbour], *, within: Area | None = None) -> list[LatLon]:
    """Find all modes of the neighbours' density, densest first, rounded to a metre.

    A Gaussian of great-circle distance stands on each neighbour; the modes are found by mean shift on the sphere from
    every neighbour at once.

    Args:
        neighbours: The nearest neighbours of a query.
        within: Where all neighbours lie; a mode outside, as between two islands, is replaced by the neighbour that led
            to it.
    """
    if not neighbours:
        return []
    points, weights = _points_and_weights(neighbours)
    shifted = points
    for _ in range(MEAN_SHIFT_STEPS):
        moved = (_kernel(shifted, points) * weights) @ points
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        shift = np.square(moved - shifted).sum(axis=1).max()
        shifted = moved
        if shift < MEAN_SHIFT_TOLERANCE:
            break
    starts: dict[LatLon, LatLon] = {}  # for each mode, the most similar neighbour that led to it
    for vector, neighbour in sorted(zip(shifted, neighbours, strict=True), key=lambda pair: pair[1].similarity):
        mode = to_latlon(vector)
        # Rounded to a metre, so that modes which differ only numerically compare equal.
        starts[LatLon(round(mode.lat, 5), round(mode.lon, 5))] = neighbour.position
    peaks = list(dict.fromkeys(mode if holds(within, mode) else start for mode, start in starts.items()))
    density = _kernel(unit_vectors(peaks), points) @ weights
    return [peaks[index] for index in np.argsort(-density, kind="stable")]


def _points_and_weights(neighbours: Sequence[Neighbour]) -> tuple[FloatArray, FloatArray]:
    similarities = np.array([neighbour.similarity for neighbour in neighbours], dtype=np.float64)
    return unit_vectors([neighbour.position for neighbour in neighbours]), vote_weights(similarities)


def _kernel(a: FloatArray, b: FloatArray) -> FloatArray:
    """(n, m): the Gaussian of the great-circle distances between two sets of points."""
    return np.asarray(np.exp(-0.5 * np.square(arc_km(a, b) / SIGMA_KM)))


def _half_mass_km(mode: FloatArray, points: FloatArray, weights: FloatArray) -> float:
    """Radius around the mode that holds half of the density.

    Each neighbour's Gaussian is represented by 8 x 12 points of equal mass: at the mid-quantiles of its distance, which
    is Rayleigh distributed, and at even bearings.
    """
    quantiles = (np.arange(8) + 0.5) / 8
    angles = SIGMA_KM * np.sqrt(-2 * np.log(1 - quantiles)) / EARTH_RADIUS_KM
    bearings = np.arange(12) * (2 * math.pi / 12)
    # Any two directions at right angles to a point and to each other span its tangent plane, at the poles as well.
    helper = np.where(np.abs(points[:, 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    first = np.cross(points, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(points, first)
    heading = first[:, None, :] * np.cos(bearings)[:, None] + second[:, None, :] * np.sin(bearings)[:, None]
    cloud = (
        points[:, None, None, :] * np.cos(angles)[:, None, None]
        + heading[:, None, :, :] * np.sin(angles)[:, None, None]
    ).reshape(-1, 3)
    distances_km = arc_km(mode[None, :], cloud)[0]
    each = len(angles) * len(bearings)
    mass = np.repeat(weights, each) / each
    order = distances_km.argsort()
    return float(distances_km[order][np.searchsorted(mass[order].cumsum(), 0.5)])
