"""`roadspeed mask`: labels to a speed mask."""

import argparse
from pathlib import Path

EXAMPLE = "roadspeed mask roads.geojson --like image.tif -o mask.tif"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("labels", type=Path, metavar="LABELS", help="GeoJSON with roads, in lon/lat")
    parser.add_argument("--like", type=Path, required=True, metavar="IMAGE", help="GeoTIFF whose grid the mask takes")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="MASK", help="GeoTIFF to write")
    parser.add_argument(
        "--bands", action="store_true", help="write the reference's 8 bands, 0 or 255: 7 bins, then all roads"
    )
    parser.add_argument("--half-width-m", type=float, default=2.0, help="half the width of a road (default: 2)")
    parser.add_argument("--by-lanes", action="store_true", help="widen roads by their number of lanes")


def run(args: argparse.Namespace) -> None:
    """Draw the mask."""
    from roadspeed.prepare.labels import read_labels
    from roadspeed.prepare.masks import draw_mask, read_valid
    from roadspeed.prepare.settings import MaskSettings
    from roadspeed.raster import write_raster
    from roadspeed.speedbins import SpeedBins, expand_mask

    settings = MaskSettings.checked({"half_width_m": args.half_width_m, "width_by_lanes": args.by_lanes})
    bins = SpeedBins()
    labels = read_labels(args.labels)
    valid, grid = read_valid(args.like)
    mask = draw_mask(labels, grid, settings, bins, valid)
    write_raster(args.out, expand_mask(mask, bins) if args.bands else mask[None], grid)
