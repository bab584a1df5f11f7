"""Times of day: where the sun stands, what colour it has, and what the sky looks like.

Colours are BGR triples, 0..1 for light and 0..255 for things seen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Light:
    """One time of day."""

    name: str
    sun: tuple[float, float, float]  # direction towards the sun, not normalised
    sun_colour: Colour  # added where a surface faces the sun
    ambient: Colour  # light from everywhere
    sky_top: Colour
    sky_low: Colour
    shadow: float  # how much darker the ground is in shadow, 0..1
    softness: int  # blur of shadow edges in pixels at 640 wide
    lamps: bool = False  # windows lit, headlights on

    def shade(self, colour: Floats, normals: Floats) -> Floats:
        """Colours [n, 3] of surfaces with unit ``normals`` [n, 3] under this light, 0..255.

        Lambert's law with a half-lit ambient term: surfaces that face down get less of the sky.
        """
        sun = np.asarray(self.sun) / np.linalg.norm(self.sun)
        direct = np.clip(normals @ sun, 0.0, 1.0)[:, None] * np.asarray(self.sun_colour)
        sky = (0.75 + 0.25 * normals[:, 2:3]) * np.asarray(self.ambient)
        shaded: Floats = np.clip(colour * (direct + sky), 0.0, 255.0)
        return shaded

    def tint(self, colour: Colour) -> Floats:
        """The colour of something flat that lies under this light, 0..255."""
        up = np.array([[0.0, 0.0, 1.0]])
        tinted: Floats = self.shade(np.asarray(colour, dtype=np.float64)[None], up)[0]
        return tinted

    def haze(self, colour: Floats, distance: Floats | float) -> Floats:
        """``colour`` seen through ``distance`` metres of air (Koschmieder's law)."""
        clear = np.exp(-np.asarray(distance) / 420.0)
        hazed: Floats = colour * clear + np.asarray(self.sky_low) * (1.0 - clear)
        return hazed


LIGHTS: dict[str, Light] = {
    light.name: light
    for light in (
        Light(
            "morning",
            (-0.75, -0.45, 0.5),
            (0.36, 0.52, 0.62),
            (0.62, 0.56, 0.52),
            (214, 176, 132),
            (206, 216, 236),
            0.42,
            3,
        ),
        Light(
            "noon",
            (0.25, -0.5, 1.0),
            (0.50, 0.54, 0.56),
            (0.60, 0.57, 0.55),
            (222, 168, 98),
            (238, 222, 200),
            0.50,
            2,
        ),
        Light(
            "afternoon",
            (0.8, -0.35, 0.6),
            (0.34, 0.50, 0.60),
            (0.60, 0.55, 0.52),
            (208, 160, 104),
            (216, 220, 232),
            0.46,
            2,
        ),
        Light(
            "overcast",
            (0.1, -0.2, 1.0),
            (0.16, 0.15, 0.14),
            (0.74, 0.71, 0.69),
            (196, 190, 182),
            (214, 210, 206),
            0.24,
            9,
        ),
        Light(
            "dusk",
            (0.9, 0.3, 0.25),
            (0.18, 0.26, 0.38),
            (0.58, 0.49, 0.48),
            (128, 84, 70),
            (128, 150, 222),
            0.26,
            7,
            lamps=True,
        ),
        Light(
            "night",
            (0.2, -0.6, 1.0),
            (0.15, 0.17, 0.18),
            (0.52, 0.43, 0.38),
            (62, 38, 26),
            (96, 68, 54),
            0.26,
            9,
            lamps=True,
        ),
    )
}
