"""Taking away what is no road: spurs of the thinning, junction clusters, doubled lines, networks too small."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from roadspeed.extract.network import Network


def prune_spurs(
    network: Network, shorter_m: float, kept: NDArray[np.bool_], rounds: int = 4, forks: bool = False
) -> None:
    """Remove dead ends shorter than `shorter_m`, then join what two lines are left of a junction.

    Where all but one line at a junction are such dead ends, the longest of them stays: it is the road's end.

    Args:
        network: changed in place.
        shorter_m: length in metres.
        kept: (points,) ends that are no dead ends: where a road leaves the data.
        rounds: how often at most; each sees what the one before left.
        forks: also remove a road's end where it is nothing but such dead ends: the fork that thinning leaves
            there.
    """
    for _ in range(rounds):
        ends, lengths, degrees = network.ends(), network.lengths(), network.degrees()
        loose = (degrees[ends] == 1) & ~kept[ends]
        spur = (loose.sum(axis=1) == 1) & (degrees[ends].max(axis=1, initial=0) > 2) & (lengths < shorter_m)
        if not spur.any():
            break
        foot = np.where(loose[:, 0], ends[:, 1], ends[:, 0])
        number = np.flatnonzero(spur)
        spurs_at = np.bincount(foot[number], minlength=len(network.xy))
        order = number[np.lexsort((-lengths[number], foot[number]))]
        longest = np.ones(len(order), bool)
        longest[1:] = foot[order][1:] != foot[order][:-1]
        stays = order[longest & (degrees[foot[order]] - spurs_at[foot[order]] < 2)]
        if not forks:
            spur[stays] = False
        if not spur.any():
            break
        network.keep(~spur)
        network.merge()


def contract_clusters(network: Network, shorter_m: float) -> None:
    """Make one node of junctions that pieces shorter than `shorter_m` link; its place is their mean.

    A crossing of two roads thins to two junctions side by side, and so does a side road met by another almost
    opposite.
    """
    ends, lengths, degrees = network.ends(), network.lengths(), network.degrees()
    short = (lengths < shorter_m) & (degrees[ends] > 2).all(axis=1) & (ends[:, 0] != ends[:, 1])
    if not short.any():
        return
    size = len(network.xy)
    matrix = coo_matrix((np.ones(int(short.sum()), np.int8), tuple(ends[short].T)), shape=(size, size))
    label = connected_components(matrix, directed=False)[1]
    members = np.unique(ends[short])
    index = np.unique(label[members], return_inverse=True)[1]
    count = np.bincount(index)
    middle = np.column_stack([np.bincount(index, network.xy[members, axis]) / count for axis in (0, 1)])
    new = network.add_points(middle)
    target = np.arange(size)
    target[members] = new[index]
    lines = []
    for line, drop in zip(network.lines, short, strict=True):
        if drop:
            continue
        a, b = target[line[0]], target[line[-1]]
        if a != line[0] or b != line[-1]:
            line = line.copy()
            line[0], line[-1] = a, b
        lines.append(line)
    network.lines = lines
    loops = network.ends()
    network.keep(~((loops[:, 0] == loops[:, 1]) & (network.lengths() < 3 * shorter_m)))


def drop_doubles(network: Network, apart_m: float) -> None:
    """Of two lines between the same nodes that stay within `apart_m` of each other, keep the shorter."""
    ends = np.sort(network.ends(), axis=1)
    lengths = network.lengths()
    order = np.lexsort((lengths, ends[:, 1], ends[:, 0]))
    wanted = np.ones(len(order), bool)
    same = (ends[order][1:] == ends[order][:-1]).all(axis=1)
    for first, second in zip(order[:-1][same], order[1:][same], strict=True):
        one, two = network.xy[network.lines[first]], network.xy[network.lines[second]]
        if ends[first, 0] == ends[first, 1] or not wanted[first]:
            continue
        distance = cKDTree(one).query(two)[0].max()
        wanted[second] = distance > apart_m
    if not wanted.all():
        network.keep(wanted)
        network.merge()


def drop_small(network: Network, shorter_m: float, high: float, kept: NDArray[np.bool_]) -> None:
    """Remove connected networks that are too short, or whose probability nowhere reaches `high`.

    A network that leaves the data (see `prune_spurs`) may be half as short: the rest of it is not seen.
    """
    if not network.lines:
        return
    labels = network.components()
    count = int(labels.max()) + 1
    total = np.bincount(labels, network.lengths(), minlength=count)
    leaves = np.bincount(labels, kept[network.ends()].any(axis=1), minlength=count) > 0
    flat, offsets = network.flat()
    peak = np.zeros(count)
    np.maximum.at(peak, labels, np.maximum.reduceat(network.values[flat, 0], offsets[:-1]))
    network.keep(((total >= np.where(leaves, shorter_m / 2, shorter_m)) & (peak >= high))[labels])
