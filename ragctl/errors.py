"""Every error ragctl raises on purpose, and the exit code it ends the command with.

RagctlError                 1
├── UsageError              2   usage or configuration
│   └── OptionError         2   a search or evaluation option is wrong
├── DocumentError           3   one document cannot be read; the rest goes on
├── BackendError            4   embedding backend: auth, credit, down, rubbish
├── StoreError              5   vector store
│   └── UnreadableCollection    settings damaged or of another format
├── IdentityMismatch        6   vectors of two identities would meet
├── PruneRefused            7   a prune too large, or a root missing or empty
├── BudgetReached           8   budget spent; the next run goes on
├── Locked                  9   another run holds the collection
├── ChangesPending         10   a plan has work; asked for with --exit-code
└── Interrupted           130   Ctrl-C; the next run goes on
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


class BackendError(RagctlError):
    """The embedding backend failed: authentication, credit, outage, or a wrong answer."""

    exit_code = 4


class StoreError(RagctlError):
    """The vector store failed."""

    exit_code = 5


class UnreadableCollection(StoreError):
    """The settings of a collection are damaged or of another format."""


class IdentityMismatch(RagctlError):
    """The collection holds vectors of another identity; refused."""

    exit_code = 6


class PruneRefused(RagctlError):
    """Too many documents would be removed, or a root is missing or empty; refused."""

    exit_code = 7


class BudgetReached(RagctlError):
    """The budget is spent; the next run goes on."""

    exit_code = 8


class Locked(RagctlError):
    """Another run holds the collection."""

    exit_code = 9


class ChangesPending(RagctlError):
    """Something is to be done (only where `--exit-code` asks)."""

    exit_code = 10


class Interrupted(RagctlError):
    """Interrupted; the next run goes on."""

    exit_code = 130
