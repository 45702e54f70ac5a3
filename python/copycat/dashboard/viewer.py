"""The viewer of contact sheets and previews; its behaviour is in viewer.js."""

from __future__ import annotations

from nicegui.element import Element

from copycat.plots.live import Pictures


class Viewer(Element, component="static/viewer.js"):
    """Shows the pictures of one run, the newest unless the user looks at an older one."""

    def show(self, run: str, colour: str, pictures: Pictures) -> None:
        """Shows a run's pictures.

        Args:
            run: its name; colour: ``#rrggbb`` of the title chip.
            pictures: the steps there are.
        """
        new = {
            "run": run,
            "colour": colour,
            "sheets": pictures.sheets,
            "previews": pictures.previews,
            "generation": pictures.generation,
        }
        for key, value in new.items():
            if self.props.get(key) != value:
                self.props[key] = value
