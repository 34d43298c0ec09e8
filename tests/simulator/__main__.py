import sys

from tests.simulator.campaign import main

sys.exit(main())
