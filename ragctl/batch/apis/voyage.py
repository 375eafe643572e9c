"""Voyage's batch API: OpenAI's, but the model is a parameter of the job, not of each line.

Lines have `custom_id` and `body`; all else of a request is in the job's `request_params`. Jobs
end within 12 hours, and belong to the project of the key (Voyage's page on batch inference, in
preview; MongoDB's guide to its compatibility with OpenAI's library).
"""

from typing import ClassVar

from ragctl.batch.apis.openai import OpenAI
from ragctl.records import Json

INPUT = "input"  # the only field of a line


class Voyage(OpenAI):
    """The batch API of Voyage."""

    window: ClassVar[str] = "12h"

    def request(self, key: str, body: dict[str, Json]) -> dict[str, Json]:
        """See BatchService.request."""
        return {"custom_id": key, "body": {INPUT: body[INPUT]}}

    def parameters(self) -> dict[str, Json]:
        """See OpenAI.parameters."""
        common = self.body("")
        return {"request_params": {name: common[name] for name in common if name != INPUT}}


API = Voyage
