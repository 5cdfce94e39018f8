"""`python docs/generator site` builds the site into `site`."""

import sys
from pathlib import Path

_DOCS = Path(__file__).parents[1]
sys.path[:1] = [str(_DOCS), str(_DOCS.parent)]

from generator.build import main  # noqa: E402

sys.exit(main())
