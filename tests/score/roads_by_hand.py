"""Roads drawn in metres around a place in the middle of a UTM zone, for the tests of the score stage."""

import numpy as np
import shapely

from roadspeed.geo import LONLAT, project, utm_crs
from roadspeed.score.roads import Roads

UTM = utm_crs(15.0, 48.0)
EAST, NORTH = 500_000.0, 5_300_000.0


def roads(*lines: list[tuple[float, float]], mph: float | list[float] = 25.0) -> Roads:
    """Return roads along lines given in metres."""
    metres = [shapely.LineString(np.asarray(line, float) + np.array([EAST, NORTH])) for line in lines]
    speeds = np.broadcast_to(np.asarray(mph, float), len(lines)).copy()
    if not metres:
        return Roads(np.empty(0, object), speeds)
    return Roads(project(np.array(metres, object), UTM, LONLAT), speeds)
