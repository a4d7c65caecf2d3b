"""Truth and proposal of a chip to one row of scores, with both ways of treating empty graphs."""

from dataclasses import asdict, dataclass

from roadspeed.score.apls import Apls, Pair, apls, prepare_pair
from roadspeed.score.roads import Roads
from roadspeed.score.settings import ScoreSettings
from roadspeed.score.sp import sp
from roadspeed.score.topo import Topo, topo


@dataclass(frozen=True)
class Scores:
    """All scores of a truth and a proposal; None where the inputs cannot give one."""

    apls_length: float | None
    """Strict: 1 when both are empty, 0 when only one is."""
    apls_length_truth_onto_proposal: float | None
    apls_length_proposal_onto_truth: float | None
    apls_time: float | None
    apls_time_truth_onto_proposal: float | None
    apls_time_proposal_onto_truth: float | None
    apls_length_compatible: float | None
    """As the reference counts: None, not part of a mean, where truth or proposal is empty."""
    apls_time_compatible: float | None
    truth_km: float
    proposal_km: float
    control_nodes_truth: int
    control_nodes_proposal: int
    compared_nodes_truth: int
    """Control nodes whose paths were compared: all of them, or the size of the seeded sample."""
    compared_nodes_proposal: int
    topo: Topo | None = None
    sp: float | None = None

    def numbers(self) -> dict[str, float | None]:
        """Return the flat values, TOPO's as `topo_precision`, `topo_recall`, `topo_f1`."""
        values = asdict(self)
        more = values.pop("topo") or dict.fromkeys(("precision", "recall", "f1"))
        return values | {f"topo_{name}": value for name, value in more.items()}


def evaluate(truth: Roads, proposal: Roads, settings: ScoreSettings, threads: int = 1) -> Scores:
    """Score a proposal against the truth.

    Raises:
        InputError: the coordinates do not fit one local projection.
    """
    return evaluate_pair(prepare_pair(truth, proposal, settings), settings, threads)


def evaluate_pair(pair: Pair, settings: ScoreSettings, threads: int = 1) -> Scores:
    """Score a prepared pair; see `evaluate`."""
    sizes = pair.control_nodes
    if any(pair.empty):
        value = 1.0 if all(pair.empty) else 0.0
        length = (value, value, value)
        time: tuple[float | None, float | None, float | None] = length
        compatible: tuple[float | None, float | None] = (None, None)
    else:
        by_length = apls(pair, "length", threads)
        length = _three(by_length)
        time = _three(apls(pair, "time", threads)) if pair.has_times else (None, None, None)
        compatible = (length[0], time[0])
        sizes = (by_length.truth_onto_proposal.compared, by_length.proposal_onto_truth.compared)
    return Scores(
        apls_length=length[0],
        apls_length_truth_onto_proposal=length[1],
        apls_length_proposal_onto_truth=length[2],
        apls_time=time[0],
        apls_time_truth_onto_proposal=time[1],
        apls_time_proposal_onto_truth=time[2],
        apls_length_compatible=compatible[0],
        apls_time_compatible=compatible[1],
        truth_km=pair.truth.total_m / 1000,
        proposal_km=pair.proposal.total_m / 1000,
        control_nodes_truth=pair.control_nodes[0],
        control_nodes_proposal=pair.control_nodes[1],
        compared_nodes_truth=sizes[0],
        compared_nodes_proposal=sizes[1],
        topo=topo(pair.truth, pair.proposal, settings) if "topo" in settings.metrics else None,
        sp=sp(pair.truth, pair.proposal, settings) if "sp" in settings.metrics else None,
    )


def _three(scores: Apls) -> tuple[float, float, float]:
    return scores.score, scores.truth_onto_proposal.score, scores.proposal_onto_truth.score
