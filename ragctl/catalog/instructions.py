"""Which instructions of a model a backend can pass on: tasks, prompts, arguments of a library."""

from ragctl.catalog.backend_table import Backend
from ragctl.catalog.model_table import RETRIEVAL, Instruction, Model
from ragctl.errors import UsageError


def check_task(model: Model, backend: Backend, task: str | None) -> None:
    """Raise UsageError if a backend cannot pass on the instructions of one of a model's tasks.

    A wire without a task field expresses a task by prompts alone. That is not enough for a
    model whose own code also takes the task: there the task selects other weights, and a
    host without a task field serves the weights for retrieval.
    """
    if task is None or task == RETRIEVAL:
        return
    instructions, served = model.for_task(task), f"{backend.name} serves {model.name}"
    for instruction, retrieval in (
        (instructions.document, model.document),
        (instructions.query, model.query),
    ):
        problem = missing_instruction(instruction, backend)
        if problem:
            raise UsageError(f"{served}, but not for {task}: {problem}")
        selects_weights = instruction.library.task != retrieval.library.task
        if selects_weights and not _has_every_adapter(backend, model):
            raise UsageError(f"{served}, but for retrieval: {task} needs other weights")


def _has_every_adapter(backend: Backend, model: Model) -> bool:
    """Return whether the backend switches between a model's adapters, not only has one merged."""
    if backend.traits.onnx:
        # An export described in the row has the adapter of a single task.
        return backend.models[model.name].onnx is None
    return backend.traits.task != "none" or backend.traits.library


def missing_instruction(instruction: Instruction, backend: Backend) -> str | None:
    """Return what the backend would need to pass on an instruction; None if it can."""
    traits = backend.traits
    if traits.task == "required":
        return None if instruction.task else f"the {backend.wire} wire needs the task of each side"
    if traits.task == "optional" or backend.is_builtin or instruction.prompt is not None:
        return None
    if traits.library and instruction.library.prompt_name:
        return None
    return f"the {backend.wire} wire has no task field, and the model's prompts are not known"
