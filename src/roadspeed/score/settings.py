"""Settings of the score stage."""

from typing import Literal

from pydantic import Field

from roadspeed.settings import Settings


class ScoreSettings(Settings):
    """How graphs are scored. The defaults are the reference metric's, so that its published numbers compare."""

    control_spacing_m: float = Field(default=50.0, ge=1, le=10_000)
    """Farthest distance between control points along an edge, in metres; edges shorter than 0.75 of it get none."""
    snap_m: float = Field(default=4.0, gt=0, le=100)
    """A control point counts as found when the other graph passes within this distance, in metres."""
    min_component_truth_m: float = Field(default=5.0, ge=0)
    """Connected parts of the truth whose longest path is shorter, in metres, are left out."""
    min_component_proposal_m: float = Field(default=3.0, ge=0)
    """The same for the proposal; the reference's 10 pixels of 0.3 m."""
    max_control_nodes: int = Field(default=20_000, ge=2)
    """With more control nodes than this a seeded sample of so many is compared, and reported; else all pairs are."""
    default_speed_mph: float | None = Field(default=None, gt=0, le=150)
    """Speed in mph for roads of a file that states none; empty: such a file gets no score by travel time."""
    metrics: tuple[Literal["topo", "sp"], ...] = ()
    """Further metrics to compute beside APLS: `topo` (local topology), `sp` (shortest paths that agree)."""
    topo_origins: int = Field(default=100, ge=1)
    """TOPO: places in the truth that are compared, drawn with the seed."""
    topo_radius_m: float = Field(default=150.0, gt=0)
    """TOPO: how far along the roads each comparison reaches, in metres."""
    topo_spacing_m: float = Field(default=30.0, gt=0)
    """TOPO: distance between the points that are compared, in metres along the roads."""
    sp_pairs: int = Field(default=500, ge=1)
    """SP: pairs of truth nodes that are compared, drawn with the seed."""
    sp_tolerance: float = Field(default=0.05, gt=0, lt=1)
    """SP: share of the true path's length by which the other path may differ."""
    seed: int = 7
    """Seed of all that is drawn."""
