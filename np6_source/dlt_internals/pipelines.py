"""Pipelines: their state, what is around their steps, what their errors and traces quote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import dlt
from dlt.common.configuration.container import Container
from dlt.common.json import json
from dlt.common.pipeline import PipelineContext
from dlt.common.runtime import signals
from dlt.common.schema import Schema
from dlt.common.versioned_state import compress_state, decompress_state
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.state_sync import generate_pipeline_state_version_hash
from dlt.pipeline.trace import save_trace

from ..redaction import without_rows


def active_pipeline() -> dlt.Pipeline | None:
    """The pipeline that ``dlt.pipeline`` made last, None where there is none.

    ``dlt.current.pipeline()`` makes one, with its folder, where there is none (dlt 1.31).
    """
    context = Container()[PipelineContext]
    pipeline = context.pipeline() if context.is_active() else None
    return pipeline if isinstance(pipeline, dlt.Pipeline) else None


def at_each_activation(act: Callable[[dlt.Pipeline], None]) -> None:
    """Calls something with each pipeline that becomes this thread's active one from now on.

    ``dlt.pipeline`` and ``pipeline.run`` activate it, and ``run`` loads a pending package before it
    looks at the source; dlt has no hook for it: the method is replaced on the thread's context
    (dlt 1.31). Calling again puts the new one in place of the old.
    """
    context: Any = Container()[PipelineContext]
    activate = getattr(context.activate, "np6_activate", context.activate)

    def activate_and_act(pipeline: Any) -> None:
        is_new = not (context.is_active() and context.pipeline() is pipeline)
        activate(pipeline)
        if is_new and isinstance(pipeline, dlt.Pipeline):
            act(pipeline)

    activate_and_act.np6_activate = activate  # type: ignore[attr-defined]
    context.activate = activate_and_act


def state_on_disk(working_dir: Path) -> Mapping[str, Any]:
    """A pipeline's state as its folder has it, read without opening the pipeline (dlt 1.31).

    ``dlt.attach`` and ``dlt.pipeline`` make the folder, or wipe it, where it is not whole.
    """
    file = working_dir / "state.json"
    state: Mapping[str, Any] = json.typed_loadb(file.read_bytes()) if file.is_file() else {}
    return state


def read_schemas_once(pipeline: dlt.Pipeline) -> None:
    """Makes a pipeline read a schema from its folder only where the file has changed.

    dlt 1.31 reads and builds a schema anew with each access to ``default_schema`` and with each
    client: 4 ms for this source's, dozens of times in a run.

    Args:
        pipeline: The pipeline; calling it again is harmless.
    """
    storage: Any = pipeline._schema_storage
    if "load_schema" in vars(storage) or storage.config.import_schema_path:
        return
    load_schema = storage.load_schema
    files: dict[str, tuple[int, int, int]] = {}

    def load_changed(name: str) -> Schema:
        file = Path(storage.config.schema_volume_path, storage._file_name_in_store(name, "json"))
        try:
            found = file.stat()
        except OSError:
            return cast("Schema", load_schema(name))  # Which says what there is to say.
        now = (found.st_mtime_ns, found.st_size, found.st_ino)
        # A live schema that is not as it was written never comes here (``LiveSchemaStorage``).
        if files.get(name) == now and name in storage.live_schemas:
            return cast("Schema", storage.live_schemas[name])
        schema: Schema = load_schema(name)
        files[name] = now
        return schema

    storage.load_schema = load_changed


def list_whole_schemas_only(pipeline: dlt.Pipeline) -> None:
    """Makes a pipeline take no file for a schema that a killed process has half written.

    dlt writes a schema to a file whose name is random and has no dot, and renames it. Where it is
    killed in between, or the disk is full, the file stays, and dlt takes it for a schema of that
    name: it then finds no such schema, or makes an empty one (dlt 1.31,
    ``FileStorage.save_atomic``, ``SchemaStorage.list_schemas``).

    Args:
        pipeline: The pipeline; calling it again is harmless.
    """
    storage: Any = pipeline._schema_storage

    def files() -> list[str]:
        # dlt activates a new pipeline before it makes the folder.
        folder = Path(storage.config.schema_volume_path)
        return [file.name for file in folder.iterdir()] if folder.is_dir() else []

    def list_schemas() -> list[str]:
        whole = {file.partition(".")[0] for file in files() if "." in file}
        return [*(whole | storage.live_schemas.keys())]

    storage.list_schemas = list_schemas
    half_written = {file for file in files() if "." not in file}
    # Making the pipeline has put one into the state, and a run would look for it in the
    # destination.
    if half_written & set(pipeline.state.get("schema_names") or ()):
        pipeline.schema_names = list_schemas()
        with pipeline.managed_state():
            pass  # dlt writes the names anew.


def has_one_dataset(pipeline: dlt.Pipeline) -> bool:
    """Whether all sources of a pipeline load into the same dataset (dlt 1.31)."""
    return bool(pipeline.config.use_single_dataset)


def is_taken_for_catalog(file: Path, dataset: str) -> bool:
    """Whether DuckDB takes a dataset's name for the file's catalog, which dlt 1.31 leaves out.

    Args:
        file: The DuckDB file: a catalog of its name up to the first dot, in any case.
        dataset: The dataset.
    """
    return file.name.split(".")[0].casefold() == dataset.casefold()


def do_not_restore(pipeline: dlt.Pipeline) -> None:
    """Makes a pipeline read no state from its destination and write none to it.

    As an argument of ``dlt.pipeline`` it is not heeded (dlt 1.31).
    """
    pipeline.config.restore_from_destination = False


TAround = Callable[[dlt.Pipeline], AbstractContextManager[None]]


def around_load_step(pipeline: dlt.Pipeline) -> TAround | None:
    """What ``set_around_load_step`` has put around a pipeline's load step."""
    around: TAround | None = getattr(pipeline.load, "np6_around", None)
    return around


def set_around_load_step(pipeline: dlt.Pipeline, around: TAround) -> None:
    """Puts a context around the load step of a pipeline, in place of one put there before.

    dlt has no hook for it: ``pipeline.load`` is replaced on the instance, which ``pipeline.run``
    calls (dlt 1.31).
    """
    load = getattr(pipeline.load, "np6_load", pipeline.load)

    def load_inside(*arguments: Any, **options: Any) -> Any:
        with around(pipeline):
            return load(*arguments, **options)

    load_inside.np6_around = around  # type: ignore[attr-defined]
    load_inside.np6_load = load  # type: ignore[attr-defined]
    pipeline.load = load_inside  # type: ignore[method-assign]


@contextmanager
def before_each_commit(pipeline: dlt.Pipeline, check: Callable[[], None]) -> Iterator[None]:
    """Calls something before each statement and each commit of the pipeline's SQL jobs.

    Loading makes a client per job through ``destination.client`` and merges with ``execute_many``,
    inside ``begin_transaction`` or not (dlt 1.31). What the check raises fails the job.
    """
    destination: Any = pipeline.destination
    make_client = destination.client

    def checked_client(*arguments: Any, **options: Any) -> Any:
        client = make_client(*arguments, **options)
        sql = client.sql_client
        execute_many, commit = sql.execute_many, sql.commit_transaction

        def checked_execute_many(*statements: Any, **more: Any) -> Any:
            check()
            return execute_many(*statements, **more)

        def checked_commit() -> None:
            check()
            commit()

        sql.execute_many, sql.commit_transaction = checked_execute_many, checked_commit
        return client

    destination.client = checked_client
    try:
        yield
    finally:
        del destination.client


def is_stop_requested() -> bool:
    """Whether dlt has received SIGTERM or Ctrl-C and waits for a good moment to end.

    dlt looks at it between two items of a resource only (dlt 1.31, ``extract.extract``); while a
    resource waits nobody does.
    """
    return signals.was_signal_received()


@contextmanager
def keeping_rows_out_of_errors(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Lets a failed step's error, and dlt's trace of it, quote nothing of rows.

    dlt 1.31 keeps the messages of failed load jobs in the error, in those that caused it, and in
    the trace in the pipeline's folder. Inside ``pipeline.run`` the trace is still being made, and
    is written after the error has passed.
    """
    try:
        yield
    except PipelineStepFailed as error:
        _clean(error, set())
        if pipeline._trace is not None:
            pipeline._trace.steps[:] = [_cleaned(step) for step in pipeline._trace.steps]
        trace = pipeline.last_trace
        if trace is not None:
            trace.steps[:] = [_cleaned(step) for step in trace.steps]
            save_trace(pipeline.working_dir, trace)
        raise


def _clean(error: BaseException | None, seen: set[int]) -> None:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    for value in error.args:
        if isinstance(value, BaseException):
            _clean(value, seen)
    error.args = tuple(_cleaned(value) for value in error.args)
    for name, value in list(vars(error).items()):
        if isinstance(value, str):
            setattr(error, name, without_rows(value))
        elif isinstance(value, BaseException):
            _clean(value, seen)
        elif isinstance(value, tuple):
            setattr(error, name, _cleaned(value))  # What the step did, with each job's message.
    _clean(error.__cause__, seen)
    _clean(error.__context__, seen)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return without_rows(value)
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, tuple) and hasattr(value, "_replace"):
        cleaned = value._replace(
            **{name: _cleaned(getattr(value, name)) for name in getattr(value, "_fields", ())}
        )
        # A resource's metrics are an attribute beside the fields (dlt 1.31).
        for name, kept in getattr(value, "__dict__", {}).items():
            setattr(cleaned, name, _cleaned(kept))
        return cleaned
    return value


def state_of(text: str) -> Mapping[str, Any]:
    """A pipeline's state as the column ``state`` of its table has it (dlt 1.31)."""
    state: Mapping[str, Any] = decompress_state(text)
    return state


def changed_state(text: str, change: Callable[[Any], None]) -> tuple[str, str]:
    """A pipeline's state as ``_dlt_pipeline_state`` keeps it, changed.

    dlt keeps every version of it there, compressed, with a hash of its content (dlt 1.31).

    Args:
        text: The column ``state``.
        change: Changes the state in place.

    Returns:
        The columns ``state`` and ``version_hash``; the same text where nothing has changed.
    """
    state: Any = decompress_state(text)
    before = generate_pipeline_state_version_hash(state)
    change(state)
    after = generate_pipeline_state_version_hash(state)
    if after == before:
        return text, after
    state["_version_hash"] = after
    return compress_state(state), after


def forget_trace(pipeline: dlt.Pipeline) -> None:
    """Removes the trace of the last run, which has its messages (dlt 1.31)."""
    for name in ("trace.pickle", "last_trace.json"):
        (Path(pipeline.working_dir) / name).unlink(missing_ok=True)
