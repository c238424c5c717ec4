"""Configuration of Sphinx; `make docs` builds into build/docs and fails on any warning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for docs.generators

from fbs_worker import __version__  # noqa: E402 -- after the path

project = "fbs-worker"
author = "The fbs-worker authors"
project_copyright = author
version = release = __version__

extensions = [
    "docs.generators",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["generators"]
language = "en_GB"
nitpicky = True
# Only what this project documents can be linked: nothing is fetched from elsewhere while the pages are built.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!fbs_worker\.)(?!\w*Error$).*"),
    (r"py:.*", r"fbs_worker\.core\.settings\.Settings"),  # its page is generated, with an entry for each setting
]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings: list[str] = []

default_role = "code"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False

html_theme = "furo"
html_title = f"fbs-worker {version}"
html_static_path = ["static"]
html_css_files = ["fbs.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options: dict[str, Any] = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1d4ed8", "color-brand-content": "#1d4ed8"},
    "dark_css_variables": {"color-brand-primary": "#7aa7ff", "color-brand-content": "#7aa7ff"},
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "
pygments_style = "friendly"
