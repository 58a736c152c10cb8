"""Trigger towers and regions of the CMS calorimeter, and where a particle from the collision lands.

Sources: the CMS Level-1 calorimeter trigger code (cms-sw/cmssw, `L1Trigger/L1TCaloLayer1`) and
the input maker of CICADA (cicada_inputs) for towers and regions; the CMS detector paper
(JINST 3 S08004) for the field and the distances of the electromagnetic calorimeter.

Arrays of towers end in ``(56, 72)``: eta from -3 to 3, then phi with tower `iphi` at index
``iphi - 1``. Arrays of regions end in ``(18, 14)``: phi, then eta, the order of CICADA's files.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOWERS_PHI = 72
TOWERS_ETA = 56
REGIONS_PHI = 18
REGIONS_ETA = 14
#: Shape of a region image, (phi, eta).
IMAGE_SHAPE = (REGIONS_PHI, REGIONS_ETA)
#: Calorimeter layers of a tower, in the order of arrays that hold both.
ECAL, HCAL = 0, 1
LAYERS = 2

#: Edges in |eta| of the 28 towers of a side.
TOWER_EDGES = np.array([*(0.087 * k for k in range(21)), 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 3.0])
#: Edges in |eta| of the 7 regions of a side: every fourth tower edge.
REGION_EDGES = TOWER_EDGES[::4]

#: Solenoid field in tesla, and the inner faces of the ECAL barrel and endcap in metres.
FIELD = 3.8
BARREL_RADIUS = 1.29
ENDCAP_Z = 3.154
#: Radius of curvature in metres of a unit charge with 1 GeV of transverse momentum.
CURVATURE_RADIUS = 1 / (0.299792458 * FIELD)

#: Eta of the centre of each tower, (56,), rising; a tower's energy is its ET times cosh of it.
TOWER_ETA = np.concatenate(
    [-(TOWER_EDGES[1:] + TOWER_EDGES[:-1])[::-1] / 2, (TOWER_EDGES[1:] + TOWER_EDGES[:-1]) / 2]
)


def tower_eta_index(eta: ArrayLike) -> NDArray[np.int64]:
    """Return the eta index, 0 to 55, of each `eta`; -1 outside |eta| < 3 and for NaN.

    A tower holds its edge nearer to eta = 0, so that both sides mirror each other.
    """
    eta = np.asarray(eta, np.float64)
    ring = np.searchsorted(TOWER_EDGES, np.abs(eta), side="right") - 1
    index = np.where(eta < 0, TOWERS_ETA // 2 - 1 - ring, TOWERS_ETA // 2 + ring)
    return np.where(ring < TOWERS_ETA // 2, index, -1).astype(np.int64)


def tower_phi_index(phi: ArrayLike) -> NDArray[np.int64]:
    """Return the phi index, 0 to 71, of each angle `phi` in radians; tower 0 begins at phi = 0."""
    towers = np.floor(np.asarray(phi, np.float64) * (TOWERS_PHI / (2 * np.pi)))
    return towers.astype(np.int64) % TOWERS_PHI


def region_phi_index(tower_phi: ArrayLike) -> NDArray[np.int64]:
    """Return the region index, 0 to 17, of tower phi indices: region 0 is centred on phi = 0."""
    iphi = np.asarray(tower_phi, np.int64) + 1
    return (iphi + 1) % TOWERS_PHI // 4


def region_eta_index(tower_eta: ArrayLike) -> NDArray[np.int64]:
    """Return the region index, 0 to 13, of tower eta indices."""
    return np.asarray(tower_eta, np.int64) // 4


def impact(
    pt: ArrayLike, eta: ArrayLike, phi: ArrayLike, charge: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (eta, phi) of the point where particles from the origin reach the ECAL's face.

    `pt` is in GeV, `charge` in units of the proton's. Neutral particles go straight. A charged one
    follows its helix to whichever face comes first: the barrel, which needs pT > 0.735 GeV per
    charge, or the endcap, which a particle that curls up still reaches as long as it gets
    there within half a turn; one that needs longer is lost and has eta NaN.
    Energy loss, multiple scattering and the size of the beam spot are left out.
    """
    pt, eta, phi, charge = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (pt, eta, phi, charge)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        radius = pt * CURVATURE_RADIUS / np.abs(charge)
        # Half the angle turned on the way to the barrel (NaN: never there) and to the endcap.
        to_barrel = np.arcsin(BARREL_RADIUS / (2 * radius))
        to_endcap = ENDCAP_Z / np.abs(np.sinh(eta)) / (2 * radius)
        half = np.fmin(to_barrel, to_endcap)
        distance = 2 * radius * np.sin(half)
        height = 2 * radius * half * np.sinh(eta)
        face_eta = np.where(half < np.pi / 2, np.arcsinh(height / distance), np.nan)
    charged = charge != 0
    # In a field along +z a positive charge turns towards smaller phi.
    face_phi = np.where(charged, phi - np.sign(charge) * half, phi)
    return np.where(charged, face_eta, eta), np.where(np.isfinite(face_phi), face_phi, 0.0)
