"""The answer, what the team accepted, and how accurate each stage is."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from purespike.compiler.report.rows.basic import Positive, Row, RuleId, Share, Whole
from purespike.compiler.statistics import wilson_interval


class Verdict(Row, frozen=True, omit_defaults=True):
    """The answer."""

    compliant: Annotated[
        bool, Meta(description="every rule ran, and none is broken without a waiver")
    ]
    headline: str
    demanded: Annotated[
        tuple[RuleId, ...],
        Meta(
            description="ids of the rules that have to hold; the others were judged where they ran"
        ),
    ]
    silent: Annotated[
        tuple[str, ...],
        Meta(
            description="modules on the chip none of whose neurons fired for any of the samples: "
            "the run says little about them; absent where all of them fired"
        ),
    ] = ()


class WaiverEntry(Row, frozen=True):
    """A finding that the team accepts, as its waiver file says."""

    rule: str
    where: str
    who: str
    why: str
    until: str


class WaiverList(Row, frozen=True):
    """The waivers, and the day on which they were judged."""

    today: str
    entries: tuple[WaiverEntry, ...]


# Stages that an accuracy may begin with: of a module, of the graph in a file, of integers.
TRAINED, READ = "trained (torch)", "trained (the graph as read)"
COMPILED = "compiled before (the graph as read)"


class Accuracy(Row, frozen=True, omit_defaults=True):
    """How many of ``n`` test samples one stage classified correctly."""

    stage: str
    correct: Whole
    n: Positive
    rate: Share
    interval: tuple[Share, Share] = field(name="interval_95")
    identical: int | None = field(name="decisions_identical_to_previous_stage")
    note: Annotated[
        str, Meta(description="what chance has to do with it, where it explains the accuracy")
    ] = ""

    @classmethod
    def of(cls, stage: str, correct: int, n: int, identical: int | None = None) -> Accuracy:
        """With its rate and 95 % confidence interval (Wilson).

        Args:
            stage: What classified.
            correct: How many it classified rightly.
            n: Of how many.
            identical: Decisions equal to those of the stage before, if they were compared.
        """
        return cls(
            stage=stage,
            correct=correct,
            n=n,
            rate=correct / n,
            interval=wilson_interval(correct, n),
            identical=identical,
        )


class Chance(Row, frozen=True):
    """What is right without looking at the input: guessing, or naming the commonest class."""

    classes: Positive
    guessing: Share
    commonest: Share = field(name="commonest_class")

    @classmethod
    def of(cls, classes: int, commonest: int, n: int) -> Chance:
        """Of a network with ``classes`` and ``n`` samples, ``commonest`` of one class."""
        return cls(classes=classes, guessing=1 / classes, commonest=commonest / n)

    def note(self, accuracy: Accuracy) -> str:
        """What has to be said of an accuracy that chance explains; empty for one above it."""
        low, high = accuracy.interval
        rate = max(self.guessing, self.commonest)
        if low > rate:
            return ""
        words = "at or below chance" if accuracy.rate <= rate else "not told from chance"
        return (
            f"{words}: {100 * accuracy.rate:.2f} % (95 % interval {100 * low:.2f} to "
            f"{100 * high:.2f} %), where always naming the commonest class is right in "
            f"{100 * self.commonest:.2f} %, and guessing among {self.classes} classes in "
            f"{100 * self.guessing:.2f} %"
        )
