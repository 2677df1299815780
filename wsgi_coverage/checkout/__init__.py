"""Map data files that were measured elsewhere to a checkout; combine, report on and judge them."""
