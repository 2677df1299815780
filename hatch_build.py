"""The README as package indexes show it, where a relative link or picture leads nowhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<path>[^)\s]+)\)")
HOME = "https://github.com/wsgi-coverage/wsgi-coverage"
PAGES = f"{HOME}/blob/main/"
PICTURES = "https://raw.githubusercontent.com/wsgi-coverage/wsgi-coverage/main/"


def absolute(text: str) -> str:
    """The Markdown text, with the project's address before each relative link and picture."""
    return LINK.sub(
        lambda m: f"{m['picture']}[{m['text']}]({PICTURES if m['picture'] else PAGES}{m['path']})",
        text,
    )


class Readme(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text)}
