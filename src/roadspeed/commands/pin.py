"""`roadspeed pin`: run a command on leased cores of one NUMA node."""

import argparse
import json

from roadspeed.commands.topology import add_machine_arguments, chosen_topology
from roadspeed.errors import HostError, InputError
from roadspeed.host.launch import describe, make_plan, plan_here, run_pinned
from roadspeed.host.plan import choose, make_request
from roadspeed.host.topology import parse_cpu_list

EXAMPLE = "roadspeed pin --threads 28 --numa-node auto -- python train.py"


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of cores of 1 or more")
    return int(text)


def _node(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is neither auto nor the number of a NUMA node")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--threads", type=_threads, required=True, metavar="N", help="physical cores to lease")
    parser.add_argument(
        "--numa-node", type=_node, default=None, metavar="auto|K", help="node to use (default auto: the freest)"
    )
    parser.add_argument("--hyper-threads", action="store_true", help="use all hyper-threads of the leased cores")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, run nothing")
    add_machine_arguments(parser)
    parser.add_argument("--busy", metavar="LIST", help="with --dry-run: plan as if other jobs held these CPUs' cores")
    parser.add_argument("--json", action="store_true", help="with --dry-run: print the plan as JSON")
    parser.add_argument("command_line", nargs=argparse.REMAINDER, metavar="-- COMMAND...", help="what to run")


def run(args: argparse.Namespace) -> None:
    """Become the command, or print the plan (always so for a machine recorded with --lscpu)."""
    command = args.command_line[1:] if args.command_line[:1] == ["--"] else args.command_line
    dry_run = args.dry_run or args.lscpu is not None
    if not command:
        raise InputError("no command given; put it at the end, such as: roadspeed pin --threads 2 -- python x.py")
    if not dry_run and (args.json or args.busy is not None):
        raise InputError("--json and --busy show a plan: add --dry-run")
    topology = chosen_topology(args)
    request = make_request(topology, args.threads, args.numa_node)
    if not dry_run:
        run_pinned(topology, request, command, args.hyper_threads)
    if args.lscpu is None and args.busy is None:
        plan = plan_here(topology, request, command, args.hyper_threads)
    else:
        busy = set(parse_cpu_list(args.busy or ""))
        cores = choose(request, {core.id for core in topology.cores if not busy.intersection(core.cpus)})
        if cores is None:
            raise HostError(f"would wait in line: with CPUs {args.busy} busy, no {request.threads} cores are free")
        plan = make_plan(topology, cores, command, args.hyper_threads)
    print(json.dumps(plan.as_json()) if args.json else describe(plan))
