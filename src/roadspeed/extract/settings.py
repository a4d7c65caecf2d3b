"""Settings of the extract stage: from probability rasters to road graphs."""

from pydantic import Field

from roadspeed.settings import Settings


class ExtractSettings(Settings):
    """How a road network is read out of a probability raster. All extents are metres on the ground."""

    smooth_m: float = Field(default=0.7, ge=0, le=5)
    """Standard deviation of the Gaussian that smooths the road probability before thresholding."""
    low: float = Field(default=0.2, gt=0, lt=1)
    """Smoothed probability above which a pixel may be road."""
    relative: float = Field(default=0.5, ge=0, lt=1)
    """A road pixel has at least this share of the highest smoothed probability around it: a road that the raster
    shows blurred is then no wider than a sharp one, and what lies beside it does not count."""
    around_m: float = Field(default=3.0, ge=0, le=20)
    """Half side of the square in which that highest probability is looked for: half the width of a broad road."""
    high: float = Field(default=0.4, gt=0, le=1)
    """Smoothed probability that a connected piece of network must reach somewhere, else it is noise."""
    hole_m: float = Field(default=6.0, ge=0, le=30)
    """Holes in the road surface no longer and no wider than this are filled."""
    widest_m: float = Field(default=16.0, gt=2, le=40)
    """Areas in which a square of this side fits are places or errors, not roads, and are left out."""
    cluster_m: float = Field(default=5.0, ge=0, le=30)
    """Junctions linked by a piece shorter than this become one."""
    spur_m: float = Field(default=7.0, ge=0, le=60)
    """Dead ends shorter than this, measured from the junction, are removed."""
    gap_m: float = Field(default=20.0, ge=0, le=60)
    """Two loose ends that head for each other are joined when at most so much between them shows no road."""
    seen: float = Field(default=0.3, ge=0, le=1)
    """A place on the way shows road when its probability is this share of that of the road that ends, and `low`."""
    near_m: float = Field(default=7.0, ge=0, le=60)
    """Two loose ends this close are joined whatever their directions, unless they point away from each other."""
    side_m: float = Field(default=7.0, ge=0, le=60)
    """A loose end is led to the road beside when at most so much between them shows no road, and the road beside
    looks disturbed there."""
    side_intact_m: float = Field(default=3.0, ge=0, le=60)
    """The same where the road beside looks intact, as it does beside a true dead end."""
    reach_m: float = Field(default=25.0, ge=0, le=60)
    """Longest join, however well the probability along it supports it."""
    gap_angle_deg: float = Field(default=35.0, ge=0, le=90)
    """Largest angle between a gap and the road that ends at it."""
    border_m: float = Field(default=8.0, ge=0, le=60)
    """A road that ends this close to the border of the data, heading outwards, is led to the border."""
    component_m: float = Field(default=25.0, ge=0, le=1000)
    """Connected networks shorter than this in all are not roads, unless they meet the border of the data."""
    simplify_m: float = Field(default=0.5, ge=0, le=10)
    """Largest distance of the simplified line from the centre line."""
    speed_radius_m: float = Field(default=1.5, ge=0, le=10)
    """Half side of the square around each centre-line pixel in which speed bins are read."""
    prior_mph: float = Field(default=22.0, ge=5, le=75)
    """Speed assumed where no bin shows evidence: the mean of the labels' speeds."""
    prior_weight: float = Field(default=0.005, gt=0, le=1)
    """Evidence (mean probability of the bins) at which prior and bins count alike."""
    slowest_mph: float = Field(default=15.0, gt=0, le=100)
    """No road is slower: the slowest label speed."""
    fastest_mph: float = Field(default=65.0, gt=0, le=200)
    """No road is faster: the fastest label speed."""
    split_mph: float = Field(default=7.0, ge=0, le=100)
    """An edge is cut where the speed changes by at least this; 0 never cuts."""
    split_m: float = Field(default=25.0, gt=0, le=1000)
    """Shortest piece such a cut may leave on either side."""
    window_px: int = Field(default=2600, ge=256, le=20000)
    """Side of the windows in which large rasters and cities are worked through; bounds the memory."""
