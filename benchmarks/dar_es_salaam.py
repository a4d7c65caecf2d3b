"""Our graph of a real network's output beside the reference pipeline's own graph in that window, counted and drawn.

Run: python benchmarks/dar_es_salaam.py [--shared FOLDER] [-o PICTURE.png]
The prediction is 8 pages of one TIFF, without a georeference: it is placed by the reference's nodes, whose pixels
and UTM coordinates are both known. Its background is 31 of 255 (the reference passes flips through the sigmoid
twice), so values are stretched back to 0 … 255 first.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import rasterio
import shapely
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.extract.chip import extract_raster
from roadspeed.files import read_table
from roadspeed.geo import LONLAT, project
from roadspeed.raster import Grid
from roadspeed.score.evaluate import evaluate
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings

ROW, COLUMN, SIZE = 6400, 5120, 1300
BACKGROUND = 31
UTM = CRS.from_epsg(32737)
"""The reference's coordinates are those of zone 37 with negative northings: 10,000 km less than zone 37 south's."""
SOUTH_M = 1e7


def prediction(path: Path) -> np.ndarray:
    """Return (8, rows, columns) uint8 with the background at 0."""
    pages = []
    for page in range(1, 9):
        with rasterio.open(f"GTIFF_DIR:{page}:{path}") as source:
            pages.append(source.read(1).astype(np.float32))
    top = max(page.max() for page in pages)
    return np.clip((np.stack(pages) - BACKGROUND) * 255 / (top - BACKGROUND), 0, 255).round().astype(np.uint8)


def window_grid(nodes: Path) -> Grid:
    """Return where the window lies, from the reference's nodes."""
    rows = read_table(nodes)
    pixel = np.array([[float(r["x_pix"]), float(r["y_pix"]), 1] for r in rows])
    place = np.array([[float(r["x"]), float(r["y"]) + SOUTH_M] for r in rows])
    fit = np.linalg.lstsq(pixel, place, rcond=None)[0]
    print(f"georeference fitted to {len(rows)} nodes, worst residual {np.abs(pixel @ fit - place).max():.2f} m")
    whole = Affine(fit[0, 0], fit[1, 0], fit[2, 0], fit[0, 1], fit[1, 1], fit[2, 1])
    return Grid(SIZE, SIZE, UTM, whole @ Affine.translation(COLUMN, ROW))


def reference_roads(edges: Path, grid: Grid) -> tuple[Roads, np.ndarray]:
    """Return the reference's edges inside the window, and their lines in the window's pixels."""
    rows = read_table(edges)
    lines = shapely.from_wkt([row["wkt_pix"] for row in rows])
    speed = np.array([float(row["inferred_speed_mph"]) for row in rows])
    inside = shapely.intersection(lines, shapely.box(COLUMN, ROW, COLUMN + SIZE, ROW + SIZE))
    parts, index = shapely.get_parts(inside, return_index=True)
    keep = (shapely.get_type_id(parts) == 1) & (shapely.length(parts) > 0)
    pixels = shapely.transform(parts[keep], lambda xy: xy - [COLUMN, ROW])
    placed = shapely.transform(pixels, lambda xy: np.column_stack(grid.transform * (xy[:, 0], xy[:, 1])))
    return Roads(np.asarray(project(placed, UTM, LONLAT), object), speed[index[keep]]), pixels


def describe(name: str, lines: np.ndarray) -> None:
    """Print kilometres, dead ends, junctions and connected networks of lines in metres."""
    ends = np.round(np.concatenate([shapely.get_coordinates(shapely.get_point(lines, k)) for k in (0, -1)]), 1)
    degree = np.unique(ends, axis=0, return_counts=True)[1]
    networks = shapely.get_num_geometries(shapely.union_all(shapely.buffer(lines, 0.2)))
    print(
        f"{name:10s} {shapely.length(lines).sum() / 1000:6.2f} km {len(lines):4d} edges {len(degree):4d} nodes "
        f"{(degree == 1).sum():4d} loose ends {(degree > 2).sum():4d} junctions {networks:3d} networks"
    )


def main() -> None:
    """Compare and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("-o", "--out", type=Path, default=Path("dar_es_salaam.png"))
    args = parser.parse_args()
    folder = args.shared / "data" / "dar_es_salaam"
    pixels = prediction(folder / "prediction_x5120_y6400_1300.tif")
    grid = window_grid(folder / "graph_speed_nodes.csv")
    graph = extract_raster(pixels, grid)
    ours = Roads(graph.geometry, graph.speed_mph)
    theirs, theirs_px = reference_roads(folder / "graph_speed_edges.csv", grid)

    describe("reference", np.asarray(project(theirs.lines, LONLAT, UTM)))
    describe("ours", np.asarray(project(ours.lines, LONLAT, UTM)))
    for name, a, b in (("reference", theirs, ours), ("ours", ours, theirs)):
        near = shapely.buffer(shapely.union_all(project(b.lines, LONLAT, UTM)), 4)
        lines = np.asarray(project(a.lines, LONLAT, UTM))
        share = shapely.length(shapely.intersection(lines, near)).sum() / shapely.length(lines).sum()
        speed = np.average(a.speed_mph, weights=shapely.length(lines))
        print(f"{name:10s} {share:.1%} of its length within 4 m of the other; mean speed {speed:.1f} mph")
    scores = evaluate(theirs, ours, ScoreSettings())
    print(
        f"APLS of ours against the reference's: {scores.apls_length:.3f} by length (reference onto ours "
        f"{scores.apls_length_truth_onto_proposal:.3f}, ours onto reference "
        f"{scores.apls_length_proposal_onto_truth:.3f}), {scores.apls_time:.3f} by time"
    )

    picture = cv2.cvtColor(pixels[7] // 2, cv2.COLOR_GRAY2BGR)
    inverse = ~grid.transform
    utm = np.asarray(project(ours.lines, LONLAT, UTM))
    ours_px = shapely.transform(utm, lambda xy: np.column_stack(inverse * (xy[:, 0], xy[:, 1])))
    for lines, colour, width in ((theirs_px, (80, 220, 80), 3), (ours_px, (60, 80, 255), 1)):
        for line in lines:
            points = (shapely.get_coordinates(line) * 8).astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(picture, [points], False, colour, width, cv2.LINE_AA, 3)
            for end in (points[0, 0], points[-1, 0]):
                cv2.circle(picture, (int(end[0]), int(end[1])), (2 * width + 1) * 8, colour, 1, cv2.LINE_AA, 3)
    cv2.imwrite(str(args.out), picture)
    print(f"{args.out}: probability in grey, the reference in green, ours in red")


if __name__ == "__main__":
    main()
