"""Settings of the acquire stage: where tarballs come from, how they are fetched, what is taken out of them."""

from typing import Literal

from pydantic import Field

from roadspeed.settings import Settings


class Tarball(Settings):
    """One tarball in the bucket."""

    key: str
    """Key inside the bucket, such as spacenet/SN5_roads/tarballs/SN5_roads_train_AOI_7_Moscow.tar.gz."""
    md5: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{32}$")
    """Its MD5 where it is known; otherwise the object's ETag and size are checked."""
    size: int | None = Field(default=None, ge=0)
    """Its size in bytes where it is known."""


class AcquireSettings(Settings):
    """How tarballs are fetched and unpacked."""

    product: Literal["PS-MS", "PS-RGB"] = "PS-MS"
    """Images to take: PS-MS (8 bands, 16-bit) or PS-RGB (3 bands). SpaceNet 3's older names are understood."""
    keep_tarballs: bool | Literal["until_unpacked"] = "until_unpacked"
    """`until_unpacked`: a tarball is downloaded to disk (a kill costs seconds), unpacked, then removed. `true`: it
    stays. `false`: it is unpacked while it is downloaded and never lies on disk; ranges that fail are tried again,
    but a kill restarts that tarball."""
    unreadable_labels: Literal["stop", "missing"] = "stop"
    """What a label file that cannot be read does: `stop` the stage, or count as `missing`, with a note."""
    endpoint_url: str | None = None
    """Address of an S3-compatible server; empty for Amazon's."""
    region: str = "us-east-1"
    """The bucket's region."""
    connections: int = Field(default=8, ge=1, le=64)
    """Ranges of an object that are fetched at the same time."""
    range_mib: int = Field(default=16, ge=1, le=1024)
    """Size of a range in MiB. It costs no memory, and a kill does not cost the ranges under way. Small ranges let
    the checksum, which needs the bytes in order, follow closely; each costs a request."""
    attempts: int = Field(default=8, ge=1, le=100)
    """Times that a range is tried, with growing pauses, before the download fails."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds without an answer after which a connection counts as broken."""
    max_member_mib: int = Field(default=1024, ge=1)
    """A file inside a tarball that claims to be larger is refused."""
