"""`roadspeed sample`: draw the sample cities."""

import argparse
import re
from pathlib import Path

from roadspeed.errors import InputError

EXAMPLE = "roadspeed sample bucket --cities 3 --grid 4x4 --chip-px 512 --seed 7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make; it serves as the bucket file://OUT")
    parser.add_argument("--cities", type=int, default=3, metavar="N", help="how many cities (default 3)")
    parser.add_argument(
        "--grid", default="4x4", metavar="COLUMNSxROWS", help="train chips of a city, such as 6x4 (default 4x4)"
    )
    parser.add_argument("--chip-px", type=int, default=512, metavar="PX", help="size of a chip (default 512)")
    parser.add_argument("--seed", type=int, default=7, metavar="S", help="equal seeds give equal bytes (default 7)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="cores to use (default 1)")


def run(args: argparse.Namespace) -> int:
    """Draw the cities and print the tarballs' paths.

    Raises:
        InputError: an option cannot be used.
    """
    match = re.fullmatch(r"(\d{1,4})[xX](\d{1,4})", args.grid)
    if match is None:
        raise InputError(f"--grid {args.grid!r}: expected COLUMNSxROWS, such as 4x4")
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: expected 1 or more")
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"{args.out}: is a file; name a folder to write the bucket to")
    from roadspeed.acquire.sample.tarballs import draw_sample

    grid = int(match[1]), int(match[2])
    for path in draw_sample(args.out, args.cities, grid, args.chip_px, args.seed, args.threads):
        print(path)
    return 0
