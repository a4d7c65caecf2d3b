"""The sample cities: invented, drawn from a vector plan, packed like SpaceNet 5's tarballs.

From outside only `draw_sample` (in `tarballs`) matters. Flow: `looks` (what a city is like) → `network`,
`blocks` (roads as vectors) → `things` (houses, trees, cars, land) → `scene`, `canvas` (pixels of one chip) and
`labels` → `tarballs`. Everything is a function of the seed and a place, made when a chip needs it, so memory
and time depend on the chip and not on the city.
"""
