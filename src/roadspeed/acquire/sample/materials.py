"""Materials: reflectance in WorldView-3's eight bands, and how much each varies at each scale.

Reflectances are plausible values for the bands coastal, blue, green, yellow, red, red edge, NIR1, NIR2, read
off the general shape of published library spectra (green vegetation: green bump, red trough, red edge, NIR
plateau; soils and roofs of clay rise towards red; water falls), not measured ones.
"""

from dataclasses import dataclass

BANDS = 8


@dataclass(frozen=True)
class Material:
    """Reflectance (eight bands, 0 to 1) and variation of brightness by scale, for 0.3, 0.6, 1.8, 6, 24 m."""

    reflectance: tuple[float, ...]
    rough: tuple[float, float, float, float, float]


_ASPHALT = (0.05, 0.025, 0.03, 0.03, 0.04)
_CONCRETE = (0.05, 0.03, 0.04, 0.03, 0.03)
_SOIL = (0.07, 0.06, 0.08, 0.07, 0.07)
_GRASS = (0.10, 0.08, 0.08, 0.07, 0.06)
_TREE = (0.20, 0.22, 0.16, 0.03, 0.02)
_ROOF = (0.04, 0.03, 0.03, 0.03, 0.0)
_FLAT = (0.02, 0.02, 0.02, 0.02, 0.02)

MATERIALS = {
    "asphalt_dark": Material((0.068, 0.074, 0.081, 0.086, 0.089, 0.093, 0.098, 0.1), _ASPHALT),
    "asphalt_mid": Material((0.09, 0.099, 0.109, 0.116, 0.12, 0.125, 0.13, 0.132), _ASPHALT),
    "asphalt_old": Material((0.112, 0.124, 0.137, 0.146, 0.151, 0.157, 0.163, 0.165), _ASPHALT),
    "asphalt_red": Material((0.085, 0.094, 0.108, 0.136, 0.15, 0.156, 0.162, 0.164), _ASPHALT),
    "asphalt_patch": Material((0.055, 0.06, 0.064, 0.068, 0.07, 0.073, 0.078, 0.08), _ASPHALT),
    "concrete": Material((0.165, 0.188, 0.214, 0.232, 0.243, 0.252, 0.26, 0.262), _CONCRETE),
    "pavement": Material((0.2, 0.228, 0.26, 0.283, 0.296, 0.305, 0.313, 0.315), _CONCRETE),
    "kerb": Material((0.27, 0.3, 0.33, 0.35, 0.36, 0.365, 0.37, 0.37), _FLAT),
    "gravel": Material((0.13, 0.15, 0.175, 0.195, 0.21, 0.225, 0.24, 0.245), _SOIL),
    "gravel_road": Material((0.195, 0.235, 0.29, 0.335, 0.362, 0.375, 0.385, 0.388), (0.06, 0.05, 0.05, 0.04, 0.04)),
    "dirt_road": Material((0.16, 0.2, 0.262, 0.322, 0.36, 0.378, 0.39, 0.395), (0.06, 0.06, 0.06, 0.04, 0.04)),
    "verge": Material((0.07, 0.09, 0.14, 0.16, 0.17, 0.235, 0.3, 0.305), _GRASS),
    "paint_white": Material((0.46, 0.52, 0.56, 0.58, 0.59, 0.59, 0.59, 0.58), (0.12, 0.12, 0.1, 0.05, 0.0)),
    "paint_yellow": Material((0.12, 0.15, 0.38, 0.48, 0.5, 0.51, 0.52, 0.52), (0.12, 0.12, 0.1, 0.05, 0.0)),
    "grass_lush": Material((0.03, 0.042, 0.092, 0.078, 0.06, 0.21, 0.4, 0.42), _GRASS),
    "grass_dry": Material((0.058, 0.08, 0.132, 0.15, 0.155, 0.23, 0.315, 0.32), _GRASS),
    "crop_green": Material((0.028, 0.038, 0.083, 0.066, 0.048, 0.22, 0.45, 0.47), _GRASS),
    "crop_ripe": Material((0.09, 0.12, 0.19, 0.24, 0.26, 0.31, 0.37, 0.38), _GRASS),
    "soil_brown": Material((0.07, 0.088, 0.122, 0.155, 0.178, 0.205, 0.24, 0.25), _SOIL),
    "soil_dark": Material((0.052, 0.062, 0.083, 0.102, 0.115, 0.135, 0.16, 0.168), _SOIL),
    "soil_red": Material((0.07, 0.088, 0.128, 0.175, 0.208, 0.235, 0.268, 0.273), _SOIL),
    "soil_tan": Material((0.095, 0.12, 0.162, 0.2, 0.22, 0.242, 0.268, 0.274), _SOIL),
    "tree_dark": Material((0.02, 0.027, 0.05, 0.04, 0.032, 0.13, 0.27, 0.285), _TREE),
    "tree_green": Material((0.024, 0.034, 0.07, 0.055, 0.04, 0.17, 0.36, 0.38), _TREE),
    "tree_olive": Material((0.032, 0.043, 0.072, 0.068, 0.06, 0.15, 0.26, 0.27), _TREE),
    "water": Material((0.062, 0.064, 0.06, 0.044, 0.033, 0.02, 0.012, 0.01), (0.02, 0.03, 0.04, 0.03, 0.03)),
    "water_green": Material((0.052, 0.06, 0.078, 0.064, 0.048, 0.035, 0.024, 0.02), (0.02, 0.03, 0.04, 0.03, 0.03)),
    "shingle_grey": Material((0.13, 0.15, 0.168, 0.178, 0.184, 0.19, 0.196, 0.2), _ROOF),
    "shingle_brown": Material((0.085, 0.1, 0.125, 0.15, 0.168, 0.18, 0.195, 0.2), _ROOF),
    "shingle_dark": Material((0.06, 0.067, 0.073, 0.078, 0.08, 0.085, 0.09, 0.092), _ROOF),
    "roof_white": Material((0.31, 0.355, 0.38, 0.395, 0.4, 0.4, 0.4, 0.395), (0.03, 0.03, 0.04, 0.04, 0.02)),
    "roof_tile": Material((0.06, 0.075, 0.118, 0.205, 0.265, 0.29, 0.32, 0.33), (0.08, 0.05, 0.03, 0.03, 0.0)),
    "roof_tan": Material((0.165, 0.2, 0.258, 0.312, 0.34, 0.355, 0.375, 0.38), _ROOF),
    "metal_blue": Material((0.2, 0.255, 0.235, 0.17, 0.135, 0.15, 0.19, 0.2), _ROOF),
    "metal_green": Material((0.09, 0.13, 0.195, 0.155, 0.11, 0.15, 0.21, 0.22), _ROOF),
    "wall": Material((0.15, 0.17, 0.2, 0.22, 0.23, 0.24, 0.25, 0.25), _ROOF),
    "glass": Material((0.05, 0.055, 0.055, 0.05, 0.047, 0.045, 0.045, 0.045), _FLAT),
    "car_white": Material((0.4, 0.45, 0.48, 0.49, 0.49, 0.49, 0.48, 0.47), _FLAT),
    "car_silver": Material((0.25, 0.27, 0.29, 0.3, 0.305, 0.31, 0.31, 0.31), _FLAT),
    "car_black": Material((0.035, 0.036, 0.037, 0.038, 0.038, 0.04, 0.04, 0.04), _FLAT),
    "car_red": Material((0.05, 0.05, 0.055, 0.15, 0.32, 0.36, 0.37, 0.37), _FLAT),
    "car_blue": Material((0.1, 0.15, 0.11, 0.075, 0.065, 0.09, 0.15, 0.17), _FLAT),
}

CARS = (("car_white", 3.5), ("car_silver", 3.0), ("car_black", 2.5), ("car_red", 1.0), ("car_blue", 1.0))
