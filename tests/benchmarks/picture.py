"""A picture of figures over a number of rows, as SVG that a page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 190, 30, 50
_COLOURS = ("#1f6feb", "#d1242f", "#2da44e", "#9a6700", "#8250df", "#57606a")


def as_svg(
    title: str, across: str, up: str, lines: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """Lines through points.

    Args:
        title: What is shown.
        across: What goes to the right.
        up: What goes upwards.
        lines: The points of each line, by its name.
    """
    most_x = max(x for points in lines.values() for x, _ in points) or 1.0
    most_y = _round_up(max(y for points in lines.values() for _, y in points))
    inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + inner_width * x / most_x, _TOP + inner_height * (1 - y / most_y)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-weight="bold">{title}</text>',
        f'<text x="{_LEFT + inner_width / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">'
        f"{across}</text>",
        f'<text x="14" y="{_TOP + inner_height / 2:.0f}" text-anchor="middle"'
        f' transform="rotate(-90 14 {_TOP + inner_height / 2:.0f})">{up}</text>',
    ]
    for part in range(5):
        (left, level), (right, _) = place(0, most_y * part / 4), place(most_x, 0)
        parts.append(
            f'<line x1="{left:.0f}" x2="{right:.0f}" y1="{level:.0f}" y2="{level:.0f}"'
            ' stroke="#d0d7de"/>'
            f'<text x="{left - 6:.0f}" y="{level + 4:.0f}" text-anchor="end">'
            f"{most_y * part / 4:g}</text>"
        )
        foot, _ = place(most_x * part / 4, 0)
        parts.append(
            f'<text x="{foot:.0f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
            f"{most_x * part / 4:g}</text>"
        )
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [place(x, y) for x, y in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        height = _TOP + 14 + 18 * number
        parts.append(
            f'<rect x="{WIDTH - _RIGHT + 14}" y="{height - 9}" width="10" height="10"'
            f' fill="{colour}"/>'
            f'<text x="{WIDTH - _RIGHT + 30}" y="{height}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    """The next number of 1, 2, 4 or 8 times a power of ten."""
    step = 1e-3
    while True:
        for times in (1, 2, 4, 8):
            if step * times >= value:
                return step * times
        step *= 10
