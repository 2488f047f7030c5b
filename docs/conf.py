"""How Sphinx builds the site: `python -m sphinx -W docs docs/_build/html`."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks are small: threads only wait here

from sigprop_snn.version import version as package_version  # noqa: E402

project = "sigprop_snn"
author = "sigprop_snn contributors"
project_copyright = author
version = release = package_version()

# The gallery takes a space in the path of the clone for one in a file name.
suppress_warnings = ["sphinx_gallery.space_in_filename"]
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "mathml",
    "programs",
    "repository_pages",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "tutorials", "generated/tutorials/sg_execution_times.rst"]
nitpicky = False

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the signature has them
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
default_role = "code"  # docstrings have single backquotes around code
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

# A run reports its findings and its progress with warnings of its own.
warnings.filterwarnings("ignore", message=".*has no fixed linear filter.*")

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "generated/tutorials",
    "filename_pattern": r"\.py$",
    "ignore_pattern": "__init__",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e6,
    "write_computation_times": False,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_signature": False,
    "capture_repr": (),
}

html_theme = "furo"
html_title = f"sigprop_snn {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
