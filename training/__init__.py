"""How the shipped weights are made: data, recipes, train, export. Runs from the checkout; never imported by the
service.
"""
