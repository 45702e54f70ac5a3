"""Pictures of a run's shot for the Progress page: Input, Ground Truth, result, of any frame.

``python -m copycat.shot_view`` is a process of its own, which the page starts and asks through pipes
(:mod:`copycat.shot_view.messages`). :mod:`copycat.shot_view.shot` says what a shot has; it loads no torch.
"""
