"""Towers tile the calorimeter, regions tile the towers, and particles land where the field sends them."""

import cmath
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.data import geometry as geo

ANGLES = st.floats(-20, 20)
ETAS = st.floats(-6, 6)


def test_tower_and_region_edges_are_those_of_the_trigger() -> None:
    assert geo.TOWER_EDGES[:21] == pytest.approx([0.087 * k for k in range(21)])
    assert geo.TOWER_EDGES[20:].tolist() == pytest.approx(
        [1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 3.0]
    )
    assert geo.REGION_EDGES.tolist() == pytest.approx([0, 0.348, 0.696, 1.044, 1.392, 1.74, 2.172, 3.0])


def test_tower_centre_is_inside_its_tower() -> None:
    assert geo.tower_eta_index(geo.TOWER_ETA).tolist() == list(range(56))
    centres = (np.arange(72) + 0.5) * math.radians(5)
    assert geo.tower_phi_index(centres).tolist() == list(range(72))


def test_a_tower_holds_its_edge_nearer_to_the_middle() -> None:
    assert geo.tower_eta_index(geo.TOWER_EDGES).tolist() == [*range(28, 56), -1]
    assert geo.tower_eta_index(-geo.TOWER_EDGES[1:]).tolist() == [*range(26, -1, -1), -1]
    assert geo.tower_eta_index([math.nan, math.inf, -math.inf]).tolist() == [-1, -1, -1]


@given(ETAS)
def test_both_sides_mirror_each_other(eta: float) -> None:
    here, there = (int(geo.tower_eta_index(value)) for value in (eta, -eta))
    if abs(eta) >= 3:
        assert here == there == -1
    elif eta != 0:
        assert here == 55 - there


@given(ETAS)
def test_a_tower_lies_within_its_region(eta: float) -> None:
    index = geo.tower_eta_index(eta)
    if index >= 0:
        # Regions counted outwards from the middle: 0 to 6.
        ring = int(np.searchsorted(geo.REGION_EDGES, abs(eta), side="right")) - 1
        assert geo.region_eta_index(index) == (6 - ring if eta < 0 else 7 + ring)


@given(ANGLES, st.integers(-3, 3))
def test_phi_is_periodic(phi: float, turns: int) -> None:
    inside = phi % math.radians(5)
    if 1e-9 < inside < math.radians(5) - 1e-9:  # rounding decides at an edge
        assert geo.tower_phi_index(phi + turns * 2 * math.pi) == geo.tower_phi_index(phi)
    assert 0 <= geo.tower_phi_index(phi) < 72


def test_regions_start_two_towers_below_phi_zero() -> None:
    iphi = np.arange(1, 73)
    assert geo.region_phi_index(iphi - 1).tolist() == [((i + 1) % 72) // 4 for i in iphi]
    assert geo.region_phi_index(np.array([71, 72, 1, 2]) - 1).tolist() == [0, 0, 0, 0]
    assert geo.region_phi_index(np.array([67, 70, 3, 6]) - 1).tolist() == [17, 17, 1, 1]


def test_every_region_has_sixteen_towers() -> None:
    phi, eta = geo.region_phi_index(np.arange(72)), geo.region_eta_index(np.arange(56))
    assert np.bincount(phi).tolist() == [4] * 18
    assert np.bincount(eta).tolist() == [4] * 14


@given(st.floats(0.01, 500), st.floats(-5, 5), st.floats(-3, 3))
def test_neutral_particles_go_straight(pt: float, eta: float, phi: float) -> None:
    assert tuple(map(float, geo.impact(pt, eta, phi, 0))) == (eta, phi)


@given(st.floats(500, 5000), st.floats(-2.9, 2.9), st.sampled_from([-1, 1]))
def test_stiff_tracks_are_nearly_straight(pt: float, eta: float, charge: int) -> None:
    face_eta, face_phi = geo.impact(pt, eta, 0.0, charge)
    assert face_eta == pytest.approx(eta, abs=1e-4)
    assert abs(face_phi) < 2e-3
    assert -charge * face_phi > 0


def test_central_tracks_below_735_mev_curl_up() -> None:
    eta, _ = geo.impact([0.73, 0.74], 0.0, 0.0, [1, -1])
    assert np.isnan(eta).tolist() == [True, False]
    assert geo.tower_eta_index(eta).tolist() == [-1, 28]


@given(
    st.floats(0.1, 20),
    st.floats(0.01, 4) | st.floats(-4, -0.01),
    st.floats(-3, 3),
    st.sampled_from([-2, -1, 1, 2]),
)
def test_landing_point_is_on_the_helix_and_on_a_face(pt: float, eta: float, phi: float, charge: int) -> None:
    face_eta, face_phi = (float(value) for value in geo.impact(pt, eta, phi, charge))
    radius = pt * geo.CURVATURE_RADIUS / abs(charge)

    def at(path: float) -> tuple[complex, float]:
        """Position after a transverse path in metres: the integral of the turning direction."""
        turn = -math.copysign(path / radius, charge)
        start = cmath.exp(1j * phi)
        return start * radius * (cmath.exp(1j * turn) - 1) / (
            1j * -math.copysign(1, charge)
        ), path * math.sinh(eta)

    half_turn = math.pi * radius
    if math.isnan(face_eta):
        place, height = at(half_turn)
        assert abs(place) <= geo.BARREL_RADIUS + 1e-9
        assert abs(height) <= geo.ENDCAP_Z + 1e-9
        return
    # Find where the helix leaves the cylinder by bisection, knowing nothing of its formula.
    low, high = 0.0, half_turn
    for _ in range(80):
        middle = (low + high) / 2
        place, height = at(middle)
        inside = abs(place) < geo.BARREL_RADIUS and abs(height) < geo.ENDCAP_Z
        low, high = (middle, high) if inside else (low, middle)
    place, height = at(high)
    assert face_eta == pytest.approx(math.asinh(height / abs(place)), abs=1e-4)
    difference = cmath.phase(place) - face_phi
    assert math.remainder(difference, 2 * math.pi) == pytest.approx(0, abs=1e-4)
