"""`roadspeed graph`: probability rasters to roads with speeds and travel times."""

import argparse
from pathlib import Path

EXAMPLE = "roadspeed graph prediction.tif -o roads.gpkg --graphml roads.graphml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "predictions",
        nargs="+",
        type=Path,
        metavar="PREDICTION",
        help="GeoTIFF of 8 bands uint8 (7 speed bins, then all roads; probability × 255), or a folder of them; "
        "several that lie side by side become one network",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="ROADS.gpkg", help="GeoPackage to write")
    parser.add_argument("--graphml", type=Path, metavar="F", help="also write GraphML that OSMnx loads and routes on")
    parser.add_argument(
        "--csv", type=Path, metavar="F", help="also write the challenge's table: each raster's own roads in pixels"
    )
    parser.add_argument(
        "--settings", default="{}", metavar="JSON", help="settings of the extraction, such as '{\"low\": 0.25}'"
    )
    parser.add_argument("--low", type=float, metavar="P", help="smoothed probability above which a pixel may be road")
    parser.add_argument("--high", type=float, metavar="P", help="probability that a network must reach somewhere")
    parser.add_argument("--spur-m", type=float, metavar="M", help="dead ends shorter than this are removed")
    parser.add_argument("--gap-m", type=float, metavar="M", help="gaps up to this length are closed by direction")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="processor cores to use (default 1)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import logging

    from roadspeed.errors import InputError
    from roadspeed.extract.city import extract_chips, extract_mosaic
    from roadspeed.extract.roads import write_challenge_csv, write_geopackage, write_graphml
    from roadspeed.extract.settings import ExtractSettings
    from roadspeed.raster import read_grid
    from roadspeed.speedbins import SpeedBins

    given = {name: getattr(args, name) for name in ("low", "high", "spur_m", "gap_m")}
    settings = ExtractSettings.from_json(args.settings)
    settings = ExtractSettings.checked(
        settings.model_dump() | {name: value for name, value in given.items() if value is not None}
    )
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: give at least 1")
    bins = SpeedBins()
    paths = [path for given_path in args.predictions for path in _rasters(given_path)]
    roads = extract_mosaic(paths, settings, bins, args.threads)
    write_geopackage(roads, args.out)
    if args.graphml:
        write_graphml(roads, args.graphml)
    if args.csv:
        names = {path.stem: path for path in paths}
        graphs = extract_chips(names, settings, bins, args.threads) if len(names) > 1 else [roads]
        transforms = [read_grid(path).transform for path in names.values()]
        write_challenge_csv(zip(names, graphs, transforms, strict=True), args.csv)
    logging.getLogger(__name__).info(
        "%s: %.2f km of road, %d nodes, %d edges",
        args.out,
        roads.length_m.sum() / 1000,
        len(roads.node_xy),
        len(roads.u),
    )


def _rasters(path: Path) -> list[Path]:
    from roadspeed.errors import InputError

    if not path.is_dir():
        return [path]
    found = sorted([*path.glob("*.tif"), *path.glob("*.tiff")])
    if not found:
        raise InputError(f"{path}: holds no *.tif; give predictions, or the folder they lie in")
    return found
