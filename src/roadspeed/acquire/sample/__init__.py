"""The sample cities: invented, drawn from a vector plan, packed like SpaceNet 5's tarballs.

From outside only `draw_sample` (in `tarballs`) matters. Flow: `looks` (what a city is like) → `spec` (one city's
frames and odd chips) → `lines`, `blocks`, `network` (roads as vectors) → `inventory`, `land`, `things` (what else
stands there) → `scene`, `paint_roads`, `paint_things`, `canvas` (pixels of one chip) and `labels` → `tarballs`.
Everything is a function of the seed and a place, made when a chip needs it, so memory and time depend on the chip
and not on the city.
"""
