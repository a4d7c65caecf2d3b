"""Fetch and unpack the tarballs of one city and split; write its chip table."""

import argparse
import sys

from pydantic import TypeAdapter

from roadspeed.acquire.city import acquire_city
from roadspeed.acquire.settings import AcquireSettings, Tarball
from roadspeed.scripting import add_paths, run_script, stage_parser


def work(args: argparse.Namespace) -> None:
    acquire_city(
        city=args.city,
        split=args.split,
        bucket=args.bucket,
        tarballs=TypeAdapter(list[Tarball]).validate_json(args.tarballs),
        folder=args.out.parent,
        tarball_folder=args.downloads,
        settings=args.settings,
        threads=args.threads,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, AcquireSettings)
    parser.add_argument("--city", required=True, help="name of the city in the config")
    parser.add_argument("--split", required=True, help="train or test_public")
    parser.add_argument("--bucket", required=True, help="s3://bucket, https://host/path or file://folder")
    parser.add_argument("--tarballs", required=True, help='JSON, such as [{"key": "a.tar.gz", "md5": "…"}]')
    add_paths(parser, out="chips.csv to write; images and labels go beside it", downloads="folder for tarballs")
    sys.exit(run_script(parser, work))
