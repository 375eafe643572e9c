"""What the catalogue must know of the wires that rows of backends.toml may name.

The wires are implemented in a package above this one, which hands a `KnownWires` to
the functions that load a catalogue.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

BUILTIN = "builtin"
"""The wire of the built-in model, and the name of its model and backend."""

TaskField = Literal["none", "optional", "required"]


@dataclass(frozen=True, slots=True)
class WireTraits:
    """What decides whether a row of backends.toml fits its wire.

    `in_process`: the model runs in this process, so the row has no address and no key.
    `task`: whether a request has a field for the task of its texts. Where it has none,
    the prompt of the side goes before each text. `library`: the model's own Python code
    is called, with the arguments of `Instruction.library`. `onnx`: the wire runs ONNX
    exports, so it must know the model's pooling. `cuda_texts`: factor on the row's
    `limits.texts` when the model runs on CUDA.
    """

    in_process: bool = False
    task: TaskField = "none"
    library: bool = False
    onnx: bool = False
    cuda_texts: int = 1


@dataclass(frozen=True, slots=True)
class KnownWires:
    """The names of all wires, and a function that returns the traits of one.

    Getting traits may import the wire's module, so it is done only for rows that need it.
    """

    names: tuple[str, ...]
    traits: Callable[[str], WireTraits] = field(repr=False)
