"""`roadspeed predict`: images of any size to probability rasters."""

import argparse
from pathlib import Path

EXAMPLE = "roadspeed predict scene.tif --checkpoint model.safetensors -o probabilities"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="GeoTIFF, 8-bit RGB, or 16-bit with 3 or 8 bands (stretched between its 2nd and 98th percentiles)",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        type=Path,
        required=True,
        metavar="FILE",
        help="a model.safetensors that training wrote; given several times, their probabilities are averaged",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder for the rasters")
    parser.add_argument("--flips", type=int, choices=(1, 4, 8), help="views averaged (default 4)")
    parser.add_argument("--engine", choices=("auto", "ipex", "native", "openvino"), help="default auto")
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32", "int8"),
        help="default auto; int8 with --engine openvino only: a checkpoint is quantised once, kept beside it",
    )
    parser.add_argument(
        "--calibrate",
        nargs="+",
        type=Path,
        default=[],
        metavar="IMAGE",
        help="images that the checkpoints were trained on, for the first use with --precision int8",
    )
    parser.add_argument(
        "--settings", default="{}", metavar="JSON", help="settings of the stage, such as '{\"window_px\": 512}'"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="processor cores to use (default: all allowed)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from roadspeed.errors import InputError
    from roadspeed.predict.settings import PredictSettings
    from roadspeed.raster import read_grid

    options = {name: getattr(args, name) for name in ("flips", "engine", "precision")}
    given = {name: value for name, value in options.items() if value is not None}
    settings = PredictSettings.checked(PredictSettings.from_json(args.settings).model_dump() | given)
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads {args.threads}: expected 1 or more")
    targets = {args.out / f"{path.stem}.tif": path for path in args.images}
    if len(targets) < len(args.images):
        raise InputError("two images have the same name, and their results would overwrite each other; rename one")
    for target, path in targets.items():
        if target.exists() and target.resolve() == path.resolve():
            raise InputError(f"{path}: the result would overwrite this image; give another folder with -o")
    grids = [read_grid(path) for path in args.images]

    from roadspeed.host.cpus import own_cpus
    from roadspeed.host.engine import choose_engine
    from roadspeed.predict.images import predict_image
    from roadspeed.predict.inference import Predictor, load_networks
    from roadspeed.predict.windows import network_shape

    shapes = list(dict.fromkeys(network_shape(grid.height, grid.width, settings) for grid in grids))
    engine = choose_engine(settings.engine, settings.precision, args.threads or len(own_cpus()))
    calibration = [args.calibrate] * len(args.checkpoint)
    networks = load_networks(args.checkpoint, engine, shapes, settings.flips, calibration)
    predictor = Predictor(networks, settings.flips)
    for target, path in targets.items():
        predict_image(path, target, predictor, settings)
