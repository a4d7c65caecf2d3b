"""`python -m roadspeed` is the `roadspeed` program."""

import sys

from roadspeed.cli import main

sys.exit(main())
