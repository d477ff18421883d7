"""Insight: charts, estimates and words made of figures. Nothing here is stored, drawn or started."""
