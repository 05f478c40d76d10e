"""From the policy that a dataset was loaded under to the present one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import SettingError
from ..events.digests import DigestKey
from ..events.privacy import DROP, HMAC, HOST, KEEP, POLICIES, TRUNCATE, Privacy, of_recorded
from ..schema import Column, Table

FROM: Mapping[str, frozenset[str]] = {
    KEEP: frozenset({TRUNCATE, HOST, HMAC, DROP}),
    TRUNCATE: frozenset({HOST, DROP}),
    HOST: frozenset({DROP}),
    HMAC: frozenset({DROP}),
    DROP: frozenset(),
}
"""What values under each policy can become. A digest of a shortened value is not the value's."""


@dataclass(frozen=True)
class Changes:
    """What becomes of a dataset's values.

    Attributes:
        before: The policy that the rows are under.
        after: The policy that they are to be under, with the key.
    """

    before: Mapping[str, str]
    after: Privacy

    @property
    def classes(self) -> Mapping[str, str]:
        """The classes whose values change, each with its policy afterwards."""
        return {
            name: policy
            for name, policy in self.after.classes.items()
            if policy != self.before[name]
        }

    @property
    def privacy(self) -> Privacy:
        """The policy that makes the values afterwards of those before."""
        return Privacy({**dict.fromkeys(POLICIES, KEEP), **self.classes}, self.after.key)

    def columns(self, table: Table) -> tuple[Column, ...]:
        """The columns of a table whose values change."""
        privacy = self.privacy
        return tuple(column for column in table.columns if privacy.changes(table, column))


def changes_of(recorded: Iterable[str], after: Privacy) -> Changes:
    """What takes a dataset from its policy to another.

    Args:
        recorded: The policies that its rows were loaded under, as ``Privacy.recorded``.
        after: The other policy, with the key.

    Raises:
        SettingError: There are several; the other one is weaker, or wants digests of values that
            are not there any more; or digests were made with another key.
    """
    classes, key = policy_of(recorded)
    impossible = [
        f"{name} is {classes[name]} and cannot become {policy}"
        for name, policy in after.classes.items()
        if policy != classes[name] and policy not in FROM[classes[name]]
    ]
    if impossible:
        raise SettingError(
            f"mask: {'; '.join(impossible)}: what the rows do not have any more cannot be made"
            " again. Nothing was changed. Ask for these classes as they are, or read everything"
            " again under the other policy: np6-source load --reload."
        )
    digests_stay = any(classes[name] == HMAC == after.classes[name] for name in POLICIES)
    if digests_stay and key != (after.key.id if after.key else None):
        raise SettingError(
            f"mask: the dataset's digests were made with key={key}, and pii_key is another: old"
            " digests cannot be turned into new ones. Nothing was changed. Configure the key that"
            " was there."
        )
    return Changes(classes, after)


def policy_of(recorded: Iterable[str]) -> tuple[Mapping[str, str], str | None]:
    """The policy of every class as the ledger records it, and what tells which key it has.

    Raises:
        SettingError: There are several.
    """
    found = sorted(set(recorded))
    if len(found) > 1:
        shown = " and ".join(f"({policy or 'everything kept'})" for policy in found)
        raise SettingError(
            f"The dataset has rows under {shown}: one person would be several, and which value is"
            " a digest already could not be told. Load it under one policy first, with np6-source"
            " load --reload."
        )
    return of_recorded(next(iter(found), ""))


def check_key(labels: Iterable[str], after: Privacy, advice: str) -> None:
    """Refuses contacts' ids that could only be stored as they are.

    Args:
        labels: What contacts' ids are called in the ledger.
        after: The policy.
        advice: How a key is given.

    Raises:
        SettingError: There are such ids, and no key.
    """
    if after.masked and not isinstance(after.key, DigestKey) and any(labels):
        raise SettingError(
            "mask: contacts were loaded by their ids, which under a policy are stored as digests:"
            f" these need a key. Nothing was changed: {advice}"
        )
