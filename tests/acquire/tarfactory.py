"""Tiny tarballs shaped like SpaceNet's, made by hand for tests."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.transform import Affine

PIXEL = 2.7e-6
SN5 = "nfs/data/cosmiq/spacenet/competitions/SN5_roads/tiles_upload/train/AOI_7_Moscow"


def image(column: float = 0, row: float = 0, size: int = 40, bands: int = 8, seed: int = 0) -> bytes:
    """A GeoTIFF on a grid of chips near Moscow; `column` and `row` are in chips."""
    span = size * PIXEL
    transform = Affine(PIXEL, 0, 37.5 + column * span, 0, -PIXEL, 55.7 - row * span)
    pixels = np.random.default_rng(seed).integers(1, 2000, (bands, size, size)).astype(np.uint16)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=size,
            height=size,
            count=bands,
            dtype="uint16",
            crs=CRS.from_epsg(4326),
            transform=transform,
        ) as target:
            target.write(pixels)
        return bytes(memory.read())


def label(*lines: list[list[float]], **properties: object) -> bytes:
    """A GeoJSON label of LineStrings."""
    properties = {"inferred_speed_mph": 25.0} | properties
    features = [
        {"type": "Feature", "properties": properties, "geometry": {"type": "LineString", "coordinates": points}}
        for points in lines
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


ROAD = [[37.5, 55.7], [37.5001, 55.6999]]


def members() -> dict[str, bytes]:
    """A 2×2 train city: two chips with roads, one empty, one without label file; and other products."""
    name = "SN5_roads_train_AOI_7_Moscow"
    found = {f"{SN5}/PS-MS/{name}_PS-MS_chip{n}.tif": image(n % 2, n // 2, seed=n) for n in range(4)}
    found |= {f"{SN5}/PS-RGB/{name}_PS-RGB_chip{n}.tif": image(n % 2, n // 2, bands=3, seed=n) for n in range(4)}
    found |= {f"{SN5}/PAN/{name}_PAN_chip{n}.tif": b"pan" for n in range(4)}
    for n, content in enumerate([label(ROAD), label(ROAD), label()]):
        found[f"{SN5}/geojson_roads_speed/{name}_geojson_roads_speed_chip{n}.geojson"] = content
    found[f"{SN5}/readme.txt"] = b"hello"
    return found


def tar(content: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """An uncompressed tar; a TarInfo goes in as it is, without data."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, value in content.items():
            if isinstance(value, tarfile.TarInfo):
                archive.addfile(value)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(value)
                archive.addfile(info, io.BytesIO(value))
    return buffer.getvalue()


def tarball(content: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A gzipped tar."""
    return gzip.compress(tar(content), 1, mtime=0)


def write_bucket(folder: Path, **tarballs: bytes) -> str:
    """Write `NAME.tar.gz` files into a folder and return its address."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tarballs.items():
        (folder / f"{name}.tar.gz").write_bytes(content)
    return folder.as_uri()
