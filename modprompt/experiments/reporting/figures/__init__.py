"""The figures of a report: a file for each, a short function that draws it and returns its caption.

A figure that has nothing to show is not drawn, and its caption is empty. Where one cannot hold all methods it shows the
best, and says so.
"""
