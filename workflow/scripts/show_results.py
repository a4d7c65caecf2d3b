"""Print where a run's results are and the scores it reached."""

import argparse
import sys
from pathlib import Path

from roadspeed.logs import run_main
from roadspeed.report.outcome import describe_run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run, such as results/sample")
    args = parser.parse_args()
    sys.exit(run_main(lambda: sys.stdout.write(describe_run(args.folder)) and None))
