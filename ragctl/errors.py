"""The errors that ragctl raises, with the exit codes of the command.

The first line of each docstring is its row in the README's table of exit codes.

RagctlError                 1
├── UsageError              2   usage or configuration
│   └── OptionError         2   a search or evaluation option is wrong
├── DocumentError           3   one document failed; the others are indexed
├── BackendError            4   embedding backend: key, credit, outage, wrong answer
├── StoreError              5   vector store
│   ├── UnreadableCollection    settings or points damaged, or of another format
│   └── GenerationDropped       an open generation was deleted; open the name again
├── IdentityMismatch        6   vectors of two identities cannot be compared
├── PruneRefused            7   a run would remove too much
├── BudgetReached           8   budget spent; the next run continues
├── Locked                  9   another run is writing
├── ChangesPending         10   a plan has work to do
└── Interrupted           130   Ctrl-C; the next run continues
"""


class RagctlError(Exception):
    """Unexpected failure."""

    exit_code = 1


class UsageError(RagctlError):
    """Wrong usage or configuration."""

    exit_code = 2


class OptionError(UsageError):
    """An option is wrong. `option`: its name in the library; the command shows its flag."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(option, problem)
        self.option = option
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.option}: {self.problem}"


class DocumentError(RagctlError):
    """Some documents failed; the rest is indexed."""

    exit_code = 3
    documents = 1
    """How many documents of one file the error is about."""


class BackendError(RagctlError):
    """The embedding backend failed: authentication, credit, outage, or a wrong answer."""

    exit_code = 4


class StoreError(RagctlError):
    """The vector store failed."""

    exit_code = 5


class UnreadableCollection(StoreError):
    """The stored files of a collection are damaged, or of another format."""


class GenerationDropped(StoreError):
    """The generation that was opened has been deleted; opening the name again may find another."""


class IdentityMismatch(RagctlError):
    """The run was refused: the collection holds vectors of another identity."""

    exit_code = 6


class PruneRefused(RagctlError):
    """The run was refused: too much would be removed, or a source is missing, empty or another."""

    exit_code = 7


class BudgetReached(RagctlError):
    """The budget is spent; the next run continues."""

    exit_code = 8


class Locked(RagctlError):
    """Another run is writing to the collection."""

    exit_code = 9


class ChangesPending(RagctlError):
    """The plan has work to do (`ragctl plan --exit-code`), or `migrate` did not switch."""

    exit_code = 10


class Interrupted(RagctlError):
    """Interrupted; the next run continues."""

    exit_code = 130
