"""Insight: charts, estimates and words made from figures. Nothing is stored, drawn or started here."""
