"""The Progress tab as a web page: runs, loss curves, contact sheets, live; starts, stops and resumes trainings.

Imports only :mod:`copycat.runs` and :mod:`copycat.settings.tables`, never torch; a training is another process.
"""
