"""What X-rays lose in the tissues of a limb.

Mass attenuation coefficients (coherent scattering included) are those of NIST Standard Reference Database 126, Table 4
(Hubbell and Seltzer, NISTIR 5632), computed with XCOM for the compositions of ICRU Report 44; densities are those of
the same database's Table 2. Yellow marrow is not in it: adipose tissue's coefficient with a density of 0.98 g/cm3
(ICRU Report 46) stands in, which is right to about 1 % since both are nearly the same mixture of fat and water.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENERGIES = (30.0, 40.0, 50.0, 60.0, 80.0)
"""Photon energies of the tables, keV."""


@dataclass(frozen=True, slots=True)
class Material:
    """A tissue.

    Attributes:
        density: g/cm3.
        mass_attenuation: cm2/g at each of :data:`ENERGIES`.
    """

    density: float
    mass_attenuation: tuple[float, ...]

    def attenuation(self, energy: float) -> float:
        """Return the linear attenuation coefficient in 1/mm, interpolated in log-log as NIST advises.

        Args:
            energy: Effective photon energy, 30-80 keV.

        Raises:
            ValueError: The energy is outside the table.
        """
        if not ENERGIES[0] <= energy <= ENERGIES[-1]:
            raise ValueError(f"no coefficients for {energy} keV; the table is {ENERGIES[0]}-{ENERGIES[-1]} keV")
        mass = np.exp(np.interp(np.log(energy), np.log(ENERGIES), np.log(self.mass_attenuation)))
        return float(mass) * self.density / 10.0


CORTICAL_BONE = Material(1.92, (1.331, 0.6655, 0.4242, 0.3148, 0.2229))
MUSCLE = Material(1.05, (0.3783, 0.2685, 0.2262, 0.2048, 0.1823))
FAT = Material(0.95, (0.3063, 0.2396, 0.2123, 0.1974, 0.1800))
YELLOW_MARROW = Material(0.98, FAT.mass_attenuation)


@dataclass(frozen=True, slots=True)
class Tissues:
    """Linear attenuation coefficients at one energy, 1/mm.

    Attributes:
        bone: Compact bone.
        marrow: Yellow marrow, which fills the canal.
        muscle: Muscle, and whatever else is soft but not fat.
        fat: Fat under the skin.
    """

    bone: float
    marrow: float
    muscle: float
    fat: float

    @classmethod
    def at(cls, energy: float, mineral: float = 1.0) -> Tissues:
        """Return the coefficients at an effective energy.

        Args:
            energy: keV.
            mineral: Bone's coefficient is multiplied by this, for denser and thinner bone.
        """
        return cls(
            bone=CORTICAL_BONE.attenuation(energy) * mineral,
            marrow=YELLOW_MARROW.attenuation(energy),
            muscle=MUSCLE.attenuation(energy),
            fat=FAT.attenuation(energy),
        )
