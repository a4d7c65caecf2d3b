"""Which proposal belongs to which truth, when files hold one chip or many; and the means over chips."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from roadspeed.errors import InputError
from roadspeed.names import parse_name
from roadspeed.score.evaluate import Scores
from roadspeed.score.readers import WHOLE
from roadspeed.score.roads import Roads, no_roads

log = logging.getLogger(__name__)

MEANS = (
    "apls_length",
    "apls_length_truth_onto_proposal",
    "apls_length_proposal_onto_truth",
    "apls_time",
    "apls_time_truth_onto_proposal",
    "apls_time_proposal_onto_truth",
)


@dataclass(frozen=True)
class ChipPair:
    """Truth and proposal of one chip; `proposal_given` is False where no proposal names the chip."""

    chip: str
    truth: Roads
    proposal: Roads
    proposal_given: bool = True


def match_chips(truth: Mapping[str, Roads], proposal: Mapping[str, Roads]) -> list[ChipPair]:
    """Pair truths and proposals by chip.

    One truth and one proposal belong together whatever their names. Otherwise every truth gets the proposal of its
    chip, or an empty one; proposals of other chips are left out, with a warning.

    Raises:
        InputError: several chips on one side, and the other does not say which chip it is.
    """
    truth = truth or {WHOLE: no_roads()}
    proposal = proposal or {next(iter(truth)) if len(truth) == 1 else WHOLE: no_roads()}
    if len(truth) == len(proposal) == 1:
        (name, true_roads), (other, roads) = next(iter(truth.items())), next(iter(proposal.items()))
        if name != other and all(parse_name(f"{chip}.geojson") for chip in (name, other)):
            log.warning("the truth is %s, the proposal %s; scored as a pair all the same", name, other)
        return [ChipPair(name or other, true_roads, roads)]
    for side, what, others in ((truth, "truth", proposal), (proposal, "proposal", truth)):
        if WHOLE in side and len(side[WHOLE]):
            chips = ", ".join(list(others)[:3])
            raise InputError(
                f"the {what} names no chip, while the other side has {len(others)} ({chips}, …); give files named "
                "like SpaceNet's, a column 'chip', or one file on each side"
            )
    extra = sorted(set(proposal) - set(truth))
    if extra and len(truth) > 1:
        log.warning("%d chips of the proposal have no truth and are left out, such as %s", len(extra), extra[0])
    if len(truth) == 1 and extra and not set(truth) & set(proposal):
        raise InputError(f"the proposal has no chip {next(iter(truth))}; it has {', '.join(extra[:5])}, …")
    return [ChipPair(chip, roads, proposal.get(chip, no_roads()), chip in proposal) for chip, roads in truth.items()]


def mean_scores(scores: list[Scores]) -> dict[str, float | None]:
    """Return the mean of each score over chips, of those that have it, and of the compatible ones."""
    names = (*MEANS, "apls_length_compatible", "apls_time_compatible", "sp")
    result: dict[str, float | None] = {}
    for name in names:
        values = [value for one in scores if (value := getattr(one, name)) is not None]
        result[name] = fmean(values) if values else None
    return result
