"""Voyage's two addresses, which embedding and reranking share."""

from urllib.parse import urlsplit

from ragctl.hosts.keys import ApiKey

VOYAGE_HOST = "api.voyageai.com"
ATLAS_URL = "https://ai.mongodb.com/v1"
ATLAS_KEY_PREFIX = "al-"


def address_for_key(url: str, key: ApiKey | None) -> str:
    """Return the base URL for `key`: MongoDB Atlas's keys are valid at Atlas's address only.

    A `url` other than Voyage's own is returned unchanged.
    """
    if key is None or not key.reveal().startswith(ATLAS_KEY_PREFIX):
        return url
    return ATLAS_URL if urlsplit(url).hostname == VOYAGE_HOST else url
