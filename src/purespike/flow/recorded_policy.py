"""The policy under which a bundle was compiled: used by default when it is judged again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from purespike.compiler.report.report import ReportError
from purespike.compiler.rules.policy import POLICIES, STRICT, Policy, PolicyError
from purespike.compiler.rules.waiver import Waivers
from purespike.compiler.wording import Advice
from purespike.targets.bundle.bundle import Bundle

__all__ = ["settle_policy"]


def settle_policy(
    bundle: Bundle, given: Policy | None, waivers: Waivers | None
) -> tuple[Policy, tuple[str, ...]]:
    """The policy to judge a bundle by, and what a reader has to know of it.

    Args:
        bundle: Its report names the policy and states every choice of it.
        given: What the caller asks for; None for the recorded one.
        waivers: What the caller gives.

    Raises:
        PolicyError: If the recorded one has no meaning, and none is given.
    """
    try:
        said = bundle.said
    except ReportError:
        said = None
    if said is None or not said.policy_choices:
        policy = given or STRICT
        return policy, (f"policy: {policy.name} (the bundle does not record its own)",)
    if given is not None:
        notes = [_override(given, said.policy, said.policy_choices)]
    else:
        given = _recorded(said.policy, said.policy_choices)
        notes = [Advice(f"policy: {given.name}, recorded in the bundle ({{policy}} for another)")]
        usual = POLICIES.get(given.name)
        if usual and (other := _differences(given, asdict(usual))):
            notes.append(f"its {given.name} is not the built-in policy of that name: {other}")
    if waivers is None and said.waivers and said.waivers.entries:
        count = len(said.waivers.entries)
        notes.append(
            Advice(
                f"it was compiled with {count} waiver{'s' if count > 1 else ''}, "
                "which do not count here unless you state {waivers}"
            )
        )
    return given, tuple(notes)


def _recorded(name: str, choices: Mapping[str, object]) -> Policy:
    try:
        return Policy(name, **choices)  # type: ignore[arg-type]
    except (TypeError, PolicyError) as e:
        raise PolicyError(
            "the policy that the bundle records has no meaning",
            where="report.json, policy_choices",
            found=str(getattr(e, "found", e)),
            remedy=Advice("state one: {policy}"),
        ) from e


def _override(given: Policy, name: str, choices: Mapping[str, object]) -> str:
    other = _differences(given, choices)
    if not other and given.name == name:
        return f"policy: {given.name}, under which the bundle was compiled"
    what = f": {other}" if other else " (the same choices)"
    return f"policy: {given.name}; the bundle was compiled under {name}{what}"


def _differences(policy: Policy, others: Mapping[str, object]) -> str:
    """The choices that decide, where they differ, as ``leak_multiplies true, not false``."""
    mine = {k: v for k, v in policy.choices().items() if k != "description"}
    return ", ".join(
        f"{key} {_word(value)}, not {_word(others[key])}"
        for key, value in mine.items()
        if key in others and others[key] != value
    )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"
