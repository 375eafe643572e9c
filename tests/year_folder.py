"""A folder whose documents change from day to day, and a model of it.

Every document is a list of sections.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.world import World, paragraphs

DAY = 86_400.0


@dataclass(kw_only=True)
class ChangingFolder:
    """The folder of a world. `model`: the sections of each document in it."""

    world: World
    rng: random.Random
    model: dict[str, list[str]] = field(default_factory=dict)
    clock: float = 1_800_000_000.0
    night: int = 0
    sections_made: int = 0  # sections created so far

    def create_documents(self, documents: int = 30) -> None:
        for n in range(documents):
            self.write(f"{'sub/' * (n % 3)}{n}.md", self.sections(self.rng.randrange(1, 6)))

    def change_folder(self) -> None:
        """Make up to three changes to the folder."""
        for _ in range(self.rng.randrange(0, 4)):
            change = self.rng.choice(
                [self._edit, self._edit, self._add, self._rename, self._copy, self._delete]
            )
            change()
        self.clock += DAY
        self.night += 1

    def section(self) -> str:
        self.sections_made += 1
        return f"section {self.sections_made}"

    def sections(self, count: int) -> list[str]:
        return [self.section() for _ in range(count)]

    def write(self, name: str, sections: list[str]) -> None:
        self.model[name] = sections
        self.world.write(name, paragraphs(*sections))

    def random_name(self) -> str:
        return self.rng.choice(sorted(self.model))

    def _edit(self) -> None:
        name = self.random_name()
        sections = list(self.model[name])
        position = self.rng.randrange(len(sections))
        match self.rng.randrange(4):
            case 0:
                sections[position] = self.section()
            case 1:
                sections.insert(position, self.section())
            case 2 if len(sections) > 1:
                del sections[position]
            case _:  # change only the time, or the order
                self.rng.shuffle(sections)
        self.write(name, sections)

    def _add(self) -> None:
        self.write(
            f"new/{self.night}-{self.sections_made}.md", self.sections(self.rng.randrange(1, 5))
        )

    def _rename(self) -> None:
        name = self.random_name()
        target = f"moved/{self.night}-{self.sections_made}-{Path(name).name}"
        self.sections_made += 1
        path = self.world.root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.world.root / name).rename(path)
        self.model[target] = self.model.pop(name)

    def _copy(self) -> None:
        self.write(
            f"copy/{self.night}-{self.sections_made}.md", list(self.model[self.random_name()])
        )
        self.sections_made += 1

    def _delete(self) -> None:
        if len(self.model) > 12:
            name = self.random_name()
            (self.world.root / name).unlink()
            del self.model[name]
