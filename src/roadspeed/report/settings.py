"""Settings of stage report."""

from pydantic import Field

from roadspeed.settings import Settings


class ReportSettings(Settings):
    """How pictures are drawn."""

    map_px: int = Field(default=2400, ge=200, le=20000)
    """Longer side of a city's map in pixels; the mosaic is shrunk to it while it is read."""
    chips: int = Field(default=4, ge=1, le=50)
    """Chips drawn in a city's chip picture: from the best scored to the worst, evenly chosen."""
    slowest_mph: float = Field(default=15, ge=0)
    """Speed in mph at the slow end of the colour scale."""
    fastest_mph: float = Field(default=65, gt=0)
    """Speed in mph at the fast end of the colour scale."""
