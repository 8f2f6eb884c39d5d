"""The search page and the map in Chromium. A package, so that fixtures may live as long as its tests."""
