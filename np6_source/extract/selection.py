"""What a source is about to ask for, known before it runs: for commands that load nothing."""

from __future__ import annotations

from dataclasses import dataclass

from dlt.extract import DltResource, DltSource

from ..api.client import ApiRequest
from ..dimensions import Dimension
from ..dlt_internals.resources import captured_by
from ..endpoints import Endpoint
from ..windows import Window
from .chosen_actions import ChosenActions, TScopeIds
from .dimension_response import DimensionRequest
from .request import window_request
from .session import ExtractSession, TPurpose


@dataclass(frozen=True)
class SelectedOperation:
    """An operation that a source has selected.

    Attributes:
        row: Its row in the catalogue.
        scope_ids: The ids, or which actions; empty for an operation over the whole account.
        session: What the resources of the source share.
    """

    row: Endpoint | Dimension
    scope_ids: TScopeIds
    session: ExtractSession

    @property
    def takes_ids(self) -> bool:
        """Whether it is called once for each id."""
        return self.row.ids is not None

    @property
    def gives_array(self) -> bool:
        """Whether its responses are arrays, or else an object each."""
        return not isinstance(self.row, Dimension) or self.row.gives == "array"

    def request(self, window: Window, scope_id: str = "") -> ApiRequest:
        """The request that a load would send.

        Args:
            window: The span of event time; a dimension has none.
            scope_id: The id, empty for the account.
        """
        label = self.session.label_of(scope_id, self.row) if scope_id else ""
        if isinstance(self.row, Dimension):
            return DimensionRequest(self.row, scope_id, label)
        settings = self.session.settings
        classes = settings.classification if self.row.takes_classification else ()
        classification = classes[0] if classes else ""
        return window_request(self.row, window, scope_id, label, settings, classification)


def selected_operations(source: DltSource) -> list[SelectedOperation]:
    """The operations of the resources that a source has selected, in order."""
    found = [_operation_of(resource) for resource in source.selected_resources.values()]
    return [operation for operation in found if operation is not None]


def operations(source: DltSource) -> dict[str, SelectedOperation]:
    """All operations of a source, by name, whether they are selected or not."""
    found = {name: _operation_of(resource) for name, resource in source.resources.items()}
    return {name: operation for name, operation in found.items() if operation is not None}


def session_of(source: DltSource) -> ExtractSession:
    """What the resources of a source share."""
    operations = map(_operation_of, source.resources.values())
    return next(operation.session for operation in operations if operation is not None)


def read_for(source: DltSource, purpose: TPurpose) -> DltSource:
    """The source, whose given span the ledger says was read for a purpose of its own."""
    session_of(source).purpose = purpose
    return source


def account_of(source: DltSource) -> str:
    """A digest of the key and the API's address."""
    return session_of(source).key


def _operation_of(resource: DltResource) -> SelectedOperation | None:
    """None where the resource is somebody else's."""
    captured = captured_by(resource)
    row = captured.get("endpoint") or captured.get("dimension")
    session, scope_ids = captured.get("session"), captured.get("scope_ids")
    if not isinstance(session, ExtractSession) or not isinstance(row, (Endpoint, Dimension)):
        return None
    assert isinstance(scope_ids, (tuple, ChosenActions))
    return SelectedOperation(row, scope_ids, session)
