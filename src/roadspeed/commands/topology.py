"""`roadspeed topology`: sockets, NUMA nodes and cores that can be used here."""

import argparse
import json
from pathlib import Path

from roadspeed.errors import InputError
from roadspeed.host.topology import Topology, format_cpu_list, parse_cpu_list, read_lscpu, this_host

EXAMPLE = "roadspeed topology --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_machine_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which machine is meant."""
    parser.add_argument(
        "--lscpu",
        type=Path,
        metavar="FILE",
        help="describe the machine where `lscpu -p=CPU,CORE,SOCKET,NODE` printed FILE, not this one",
    )
    parser.add_argument("--cpus", metavar="LIST", help="count only these CPUs, such as 0-27,56-83")


def chosen_topology(args: argparse.Namespace) -> Topology:
    """Return the topology that the options ask for."""
    topology = read_lscpu(args.lscpu) if args.lscpu else this_host()
    if args.cpus is None:
        return topology
    restricted = topology.restricted(parse_cpu_list(args.cpus))
    if not restricted.nodes:
        usable = format_cpu_list(cpu for core in topology.cores for cpu in core.cpus)
        raise InputError(f"none of the CPUs '{args.cpus}' can be used; usable: {usable}")
    return restricted


def run(args: argparse.Namespace) -> None:
    """Print the topology."""
    topology = chosen_topology(args)
    if args.json:
        print(json.dumps(topology.as_json()))
        return
    sockets = {core.socket for core in topology.cores}
    cpus = [cpu for core in topology.cores for cpu in core.cpus]
    print(
        f"{len(sockets)} socket(s), {len(topology.nodes)} NUMA node(s), {len(topology.cores)} cores, {len(cpus)} CPUs"
    )
    for node in topology.nodes:
        first = format_cpu_list(core.cpus[0] for core in node.cores)
        others = format_cpu_list(cpu for core in node.cores for cpu in core.cpus[1:])
        socket = format_cpu_list(core.socket for core in node.cores)
        threads = f", hyper-threads {others}" if others else ""
        memory = "" if node.has_memory else ", no memory"
        print(f"node {node.id} (socket {socket}): {len(node.cores)} cores, cpus {first}{threads}{memory}")
