"""`python -m vitref` is `vitref`."""

import sys

from vitref.cli import main

sys.exit(main())
