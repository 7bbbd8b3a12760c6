"""The process that runs samna: standard library alone, so that any interpreter that has samna can run it.

It is started by path, under a name of its own, and its modules import each other relatively.
"""
