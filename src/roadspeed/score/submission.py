"""The challenge's submission table from the chips' road graphs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pyproj import CRS
from rasterio.transform import Affine, from_bounds

from roadspeed.chips import Chip, read_chips
from roadspeed.errors import InputError
from roadspeed.extract.roads import RoadGraph, by_chip, empty_graph, read_geopackage, write_challenge_csv
from roadspeed.geo import LONLAT, project


def write_submission(chips: Path, graphs: Path, out: Path) -> None:
    """Write `ImageId,WKT_Pix,length_m,travel_time_s`, one row an edge, at least one row for every chip of the table.

    Lines are in pixels of the chip's image, x to the east, y to the south, from its upper left corner; a chip without
    roads has a row `LINESTRING EMPTY` with zeros.

    Args:
        chips: chip table; its order is the table's.
        graphs: `chips.gpkg`, one graph a chip.
        out: the CSV file to write.

    Raises:
        InputError: a file is missing or unreadable, or the graphs have chips that the table lacks.
    """
    table = read_chips(chips)
    roads = by_chip(read_geopackage(graphs))
    unknown = sorted(set(roads) - {chip.chip_id for chip in table})
    if unknown:
        raise InputError(
            f"{graphs}: has roads of {unknown[0]!r}, which {chips} does not list; give its own chip table"
        )
    write_challenge_csv(_parts(table, roads), out)


def _parts(table: list[Chip], roads: dict[str, RoadGraph]) -> Iterator[tuple[str, RoadGraph, Affine]]:
    for chip in table:
        graph = roads.get(chip.chip_id, empty_graph())
        crs = CRS.from_user_input(chip.crs) if len(graph.u) else LONLAT
        if crs != LONLAT:
            graph = replace(graph, geometry=project(graph.geometry, LONLAT, crs))
        transform = from_bounds(chip.west, chip.south, chip.east, chip.north, max(chip.width, 1), max(chip.height, 1))
        yield chip.chip_id, graph, transform if len(graph.u) else Affine.identity()
