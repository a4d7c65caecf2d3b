"""Our APLS beside the reference's: the real pairs of `reference/apls.json`, and a city of 2,400 nodes and 175 km.

Run: python benchmarks/apls.py [--shared FOLDER] [--threads N] [--memory]
FOLDER holds `data` and `reference`; by default it is `shared` beside the checkout.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely

from roadspeed.geo import LONLAT, project, utm_crs
from roadspeed.score.apls import Pair, apls, prepare_pair
from roadspeed.score.readers import read_roads
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings

REFERENCE_SPEED_MPH = 13.41 / 0.44704
"""What the reference puts where a proposal states no speed."""
REFERENCE_CITY_S = 35.0
"""The reference on a city of this size, from a sample of 1,000 nodes instead of all."""


def real_pair(name: str, data: Path) -> tuple[Roads, Roads]:
    """Return truth and proposal of a key of `apls.json`, such as `img990: …`."""
    chip = name.split(":")[0]
    if chip == "img0":
        image = next((data / "vegas_img0").glob("*.tif"))
        files = (data / "vegas_img0" / "AOI_2_Vegas_img0_edited.geojson", data / "vegas_img0" / "proposal_albu.csv")
    else:
        image = None
        label = f"SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_{chip}.geojson"
        files = (data / "vegas_labels" / label, data / "vegas_labels" / f"osm_AOI_2_Vegas_{chip}.geojson")
    truth, proposal = (next(iter(read_roads(file, image).values())) for file in files)
    return truth, replace(proposal, speed_mph=np.nan_to_num(proposal.speed_mph, nan=REFERENCE_SPEED_MPH))


def grid_city(side: int, edge_m: float, seed: int, kept: float = 1.0, shift_m: float = 0.0) -> Roads:
    """Return a city of bent streets on a grid of side × side crossings, some streets missing.

    Args:
        side: crossings along one side.
        edge_m: distance of neighbouring crossings in metres.
        seed: makes the city; the same seed gives the same streets whatever `kept` and `shift_m` are.
        kept: share of the streets that are there.
        shift_m: how far vertices lie off, at random, in metres.
    """
    rng = np.random.default_rng(seed)
    nodes = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1) * edge_m
    nodes = nodes + rng.uniform(-0.15, 0.15, nodes.shape) * edge_m
    number = np.arange(side * side).reshape(side, side)
    ends = np.concatenate(
        [
            np.column_stack([number[:, :-1].ravel(), number[:, 1:].ravel()]),
            np.column_stack([number[:-1].ravel(), number[1:].ravel()]),
        ]
    )
    ends = ends[rng.random(len(ends)) < 0.85]
    speed_mph = rng.choice([20.0, 25.0, 35.0, 45.0], len(ends))
    bend = rng.uniform(-0.1, 0.1, len(ends)) * edge_m
    noise = np.random.default_rng(seed + 1)
    nodes = nodes.reshape(-1, 2) + noise.uniform(-shift_m, shift_m, (side * side, 2))
    start, end = nodes[ends[:, 0]][:, None], nodes[ends[:, 1]][:, None]
    share = np.linspace(0, 1, 9)[None, :, None]
    across = (end - start)[..., ::-1] * [1, -1] / edge_m
    places = start + share * (end - start) + across * bend[:, None, None] * np.sin(np.pi * share)
    keep = noise.random(len(ends)) < kept
    utm = utm_crs(-115.2, 36.2)
    lines = project(shapely.linestrings(places[keep] + [660_000, 4_005_000]), utm, LONLAT)
    return Roads(lines, speed_mph[keep])


def timed(work: Callable[[], object], times: int) -> float:
    """Return the least of some runs' seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def both_weights(truth: Roads, proposal: Roads, settings: ScoreSettings, threads: int) -> Pair:
    """Score by length and by travel time, networks and snapping included, and return the pair."""
    pair = prepare_pair(truth, proposal, settings)
    apls(pair, "length", threads)
    apls(pair, "time", threads)
    return pair


def show_pairs(shared: Path, threads: int) -> None:
    """Print each real pair: scores, differences, seconds."""
    reference = json.loads((shared / "reference" / "apls.json").read_text())["pairs"]
    keys = {
        "length": ("apls_length", "gt_onto_prop", "prop_onto_gt"),
        "time": ("apls_travel_time", "travel_time_gt_onto_prop", "travel_time_prop_onto_gt"),
    }
    print("pair    weight  direction              ours    reference  difference")
    rows = []
    for name, expected in reference.items():
        truth, proposal = real_pair(name, shared / "data")
        pair = both_weights(truth, proposal, ScoreSettings(), threads)
        for weight, names in keys.items():
            score = apls(pair, weight)
            values = (score.score, score.truth_onto_proposal.score, score.proposal_onto_truth.score)
            directions = ("total", "truth onto proposal", "proposal onto truth")
            for direction, value, key in zip(directions, values, names, strict=True):
                print(f"{name[:6]:7} {weight:7} {direction:20} {value:.4f}   {expected[key]:.4f}    "
                      f"{value - expected[key]:+.4f}")  # fmt: skip
        ours_s = timed(lambda t=truth, p=proposal: both_weights(t, p, ScoreSettings(), threads), 20)
        read_s = timed(lambda name=name: real_pair(name, shared / "data"), 10)
        rows.append((name[:6], ours_s, read_s, expected["seconds"]))
    print("\nDifferences above 0.005 (length) and 0.01 (time) come from defects of the reference that")
    print("tests/score/test_score_reference.py names and imitates: then ours agrees.")
    print("\npair    ours, both weights   reading the files   reference   ratio   ratio with reading")
    for name, ours_s, read_s, reference_s in rows:
        print(f"{name:7} {ours_s * 1e3:9.1f} ms {read_s * 1e3:15.1f} ms {reference_s:14.3f} s "
              f"{reference_s / ours_s:8.0f} {reference_s / (ours_s + read_s):12.0f}")  # fmt: skip


def show_city(threads: int, side: int = 51, times: int = 3) -> None:
    """Print the time of a whole city, all pairs."""
    truth, proposal = grid_city(side, 41.0, seed=3), grid_city(side, 41.0, seed=3, kept=0.95, shift_m=1.5)
    settings = ScoreSettings()
    pair = both_weights(truth, proposal, settings, threads)
    controls = " and ".join(map(str, pair.control_nodes))
    print(f"\ncity: {len(pair.truth.node_xy)} nodes, {len(pair.truth)} edges, {pair.truth.total_m / 1000:.0f} km; "
          f"{controls} control nodes, all pairs, {threads} threads")  # fmt: skip
    cpu_s = time.process_time()
    both_weights(truth, proposal, settings, threads)
    cpu_s = time.process_time() - cpu_s
    total_s = timed(lambda: both_weights(truth, proposal, settings, threads), times)
    prepare_s = timed(lambda: prepare_pair(truth, proposal, settings), times)
    length_s = timed(lambda: apls(pair, "length", threads), times)
    score = apls(pair, "length", threads)
    print(f"APLS by length {score.score:.4f}, by time {apls(pair, 'time', threads).score:.4f}")
    print(f"ours: {total_s:.2f} s for both weights, of which networks and snapping {prepare_s:.2f} s; "
          f"one weight alone {prepare_s + length_s:.2f} s; processor time for both {cpu_s:.2f} s")  # fmt: skip
    if side == 51:
        print(f"reference: {REFERENCE_CITY_S:.0f} s for one weight from a sample of 1,000 nodes; ratio "
              f"{REFERENCE_CITY_S / (prepare_s + length_s):.0f}")  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument(
        "--memory", action="store_true", help="also a city at the limit of control nodes, with its peak"
    )
    args = parser.parse_args()
    if (args.shared / "reference" / "apls.json").is_file():
        show_pairs(args.shared, args.threads)
    else:
        print(f"{args.shared}: no reference results here; only the city is measured")
    show_city(args.threads)
    if args.memory:
        show_city(args.threads, side=85, times=1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory of this process {peak:.0f} MB")


if __name__ == "__main__":
    main()
