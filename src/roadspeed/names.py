"""SpaceNet's file names: which product, city and chip a file belongs to."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

LABELS = "geojson_roads_speed"
PLAIN_LABELS = "geojson_roads"
PRODUCTS = {
    "PS-MS": "PS-MS",
    "MUL-PanSharpen": "PS-MS",
    "PS-RGB": "PS-RGB",
    "RGB-PanSharpen": "PS-RGB",
    "MS": "MS",
    "MUL": "MS",
    "PAN": "PAN",
}
"""Product names in files, old and new, to the new name."""

MAX_PATH_CHARACTERS = 4096
"""Longer paths, which no file system takes, are not looked at."""
_NAME = re.compile(
    r"^(?P<before>.*?)AOI_(?P<aoi>[0-9]{1,9})_(?P<city>[A-Za-z]+(?:_[A-Z][a-z]+)*?)"
    r"(?P<middle>_(?:PS-MS|PS-RGB|MUL-PanSharpen|RGB-PanSharpen|MS|MUL|PAN|geojson_roads(?:_speed)?))?"
    r"_(?P<kind>chip|img)(?P<number>[0-9]{1,9})(?P<after>_speed)?\Z"
)


@dataclass(frozen=True)
class ChipName:
    """What a SpaceNet file name says."""

    product: str
    """One of `PRODUCTS`' values, `geojson_roads_speed` or `geojson_roads`."""
    aoi: int
    city: str
    """As in the name, such as `San_Juan`."""
    kind: str
    """`chip` (SpaceNet 5) or `img` (SpaceNet 3)."""
    number: int

    @property
    def chip_id(self) -> str:
        """The short ImageId of the challenge, such as `AOI_7_Moscow_chip390`."""
        return f"AOI_{self.aoi}_{self.city}_{self.kind}{self.number}"


def parse_name(path: str) -> ChipName | None:
    """Return what the name of a SpaceNet image or label says, or None for any other file.

    The folder counts only where the file's own name leaves the product open: SpaceNet 3's speed labels are
    documented under three names, one of them that of the labels without speed in a folder of their own.

    Args:
        path: a path inside a tarball or a folder; only its last two parts are looked at.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        return None
    pure = PurePosixPath(path)
    if pure.suffix.lower() not in (".tif", ".tiff", ".geojson"):
        return None
    match = _NAME.match(pure.stem)
    if match is None:
        return None
    product = (match["middle"] or "").removeprefix("_") or match["before"].rstrip("_").rsplit("_", 1)[-1]
    if pure.suffix.lower() == ".geojson":
        speed = bool(match["after"]) or product == LABELS or pure.parent.name == LABELS
        product = LABELS if speed else PLAIN_LABELS
    else:
        if match["after"] or product not in PRODUCTS:
            return None
        product = PRODUCTS[product]
    return ChipName(product, int(match["aoi"]), match["city"], match["kind"], int(match["number"]))
