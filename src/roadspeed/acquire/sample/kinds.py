"""The kinds of road a sample city has: what they carry in the labels and what they look like from above."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RoadKind:
    """A class of road. Speeds follow SpaceNet's table for labels without a measured speed."""

    highway: str
    """The OSM tag."""
    lanes: int
    """Lanes of one label line: of one carriageway where there are two."""
    speed_mph: float
    width_m: float
    """Kerb to kerb, of one carriageway."""
    material: str
    order: int
    """Painting order: a higher one is painted over a lower one where they meet."""
    surface: str = "asphalt"
    half_gap_m: float = 0.0
    """Dual carriageways: from the middle of the road to the middle of each carriageway; 0 for one carriageway."""
    side: str = ""
    """Material of the strip beside the road: a pavement or a verge; empty for none."""
    side_m: float = 0.0
    """Width of that strip."""
    kerb: bool = False
    centre: str = ""
    """Centre line: `double`, `dashed` or none."""
    lane_lines: bool = False
    edge_lines: bool = False
    parked: float = 0.0
    """Share of the kerb taken by parked cars."""
    traffic_per_km: float = 0.0
    """Moving cars on a km of one carriageway."""


KINDS = {
    "motorway": RoadKind(
        "motorway", 3, 65, 13.4, "asphalt_dark", 9, half_gap_m=8.7, side="gravel", side_m=1.6, lane_lines=True,
        edge_lines=True, traffic_per_km=28,
    ),
    "trunk": RoadKind(
        "motorway", 2, 55, 9.6, "asphalt_dark", 8, half_gap_m=9.8, side="grass", side_m=5.6, lane_lines=True,
        edge_lines=True, traffic_per_km=24,
    ),
    "primary": RoadKind(
        "primary", 2, 45, 8.4, "asphalt_red", 7, half_gap_m=5.9, side="pavement", side_m=1.9, kerb=True,
        lane_lines=True, traffic_per_km=24,
    ),
    "secondary": RoadKind(
        "secondary", 2, 35, 12.6, "asphalt_mid", 6, side="pavement", side_m=2.0, kerb=True, centre="double",
        edge_lines=True, traffic_per_km=20,
    ),
    "tertiary": RoadKind(
        "tertiary", 2, 30, 9.4, "asphalt_old", 5, side="pavement", side_m=1.6, kerb=True, centre="dashed",
        traffic_per_km=10,
    ),
    "residential": RoadKind(
        "residential", 2, 25, 7.2, "asphalt_old", 4, side="pavement", side_m=1.4, kerb=True, parked=0.16,
        traffic_per_km=3,
    ),
    "alley": RoadKind("unclassified", 1, 20, 4.8, "concrete", 3, "concrete", traffic_per_km=1),
    "gravel": RoadKind(
        "residential", 2, 18.75, 6.2, "gravel_road", 2, "unpaved", side="verge", side_m=0.9, parked=0.03
    ),
    "track": RoadKind("track", 1, 15, 3.4, "dirt_road", 1, "unpaved", side="verge", side_m=0.7),
    "link": RoadKind(
        "motorway_link", 1, 35, 6.2, "asphalt_mid", 5, side="gravel", side_m=1.0, edge_lines=True, traffic_per_km=8
    ),
}  # fmt: skip
